"""Damaged data through all stages: every bad row is counted with its reason, and all that is made
of the others has the bytes that it has without them.

A shard of the output is so many rows of the source. A bad row therefore moves the rows behind it,
and these have other keys and may be in the next shard. Where a split is one shard, all files are
compared; where it is several, arrays are compared pair by pair.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.run import STAGES
from tests.soak.checkout import differences, digests
from tests.stages.damaged import (
    BAD,
    GOOD,
    OUTCOMES,
    WRITERS,
    write_clean,
    write_damaged,
    write_kaggle,
)
from tests.stages.given import read_rows, run_stages, set_params

FIRST = ("download", "regions", "index")
CHANGED = (
    {f"data/pairs/{name}" for name in ("00000.tar", "00002.tar")}
    | {  # a good sample behind a bad one has another key
        "data/index/ids.parquet",
        "data/index/metadata/metadata_00000.parquet",
        "data/index/metadata/metadata_00002.parquet",
    }
    | {  # bad rows are rows of these
        f"data/pairs/{shard}{end}"
        for shard in ("00000", "00001", "00002")
        for end in (".parquet", "_stats.json")
    }
    | {  # and are counted here
        f"reports/{name}" for name in ("data.html", "index.html", "metrics.json", "validation.json")
    }
)
"""All files of a run that bad rows change."""


@pytest.fixture
def run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """run_on(name, source, fields, *stages): the folder of that name in which stages ran."""
    monkeypatch.setenv("CAPTIONSEG_TRACKING", "off")

    def run_on(
        name: str, source: str, fields: dict[str, str], *stages: str, shard_size: int = 500
    ) -> Path:
        root = tmp_path / name
        root.mkdir()
        monkeypatch.chdir(root)
        given = {**fields, "tune": 0.2, "test": 0.2}
        set_params({"source": source, "shard_size": shard_size, "min_success": 0.5, source: given})
        run_stages(stages or STAGES)
        return root

    return run_on


def test_shards_through_all_stages(run_on, tmp_path: Path) -> None:
    clean = run_on("clean", "shards", {"path": str(write_clean(tmp_path / "0"))})
    damaged = run_on("damaged", "shards", {"path": str(write_damaged(tmp_path / "1"))})
    assert set(differences(digests(clean), digests(damaged))) == CHANGED
    bad = compare_rows(clean, damaged)
    assert {row["source_row"]: row["reason"] for row in bad} == OUTCOMES
    for name in ("ids.parquet", "metadata/metadata_00000.parquet"):
        check_same(read_rows(clean / "data/index", name), read_rows(damaged / "data/index", name))
    numbers = [json.loads((root / "reports/metrics.json").read_text()) for root in (clean, damaged)]
    shares = [found["data"].pop("download_success") for found in numbers]
    assert shares == [1, round(GOOD / (GOOD + len(OUTCOMES)), 4)]
    assert numbers[0] == numbers[1]
    check_pages(clean, damaged)


def check_pages(clean: Path, damaged: Path) -> None:
    """The data page counts bad rows by reason; the page of the run says how many there are."""
    page = (damaged / "reports/data.html").read_text().replace("<wbr>", "")
    counted = {name: int(n) for name, n in re.findall(r"<b>(\w+)</b>.*?<td[^>]*>(\d+)</td>", page)}
    assert counted == Counter(OUTCOMES.values())
    assert f"all {GOOD + len(OUTCOMES)} source rows" in page
    before, after = (
        (root / "reports/index.html").read_text().splitlines() for root in (clean, damaged)
    )
    added = [line for line in after if line not in before]
    assert "Source rows that gave no picture: 10." in added[0]
    assert '<td>pairs</td><td data-label="rows">119</td>' in added[1]  # of validation
    assert len(added) == 2


def compare_rows(clean: Path, damaged: Path) -> list[dict[str, Any]]:
    """The bad rows of a run; its good ones are those of the clean run, but for their numbers."""
    before, after = (read_rows(root / "data/pairs") for root in (clean, damaged))
    check_same(before, [row for row in after if row["status"] == "success"])
    return [row for row in after if row["status"] != "success"]


def check_same(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """Rows differ in nothing but the number of a sample in its shard, and that of its line."""
    moved = {"key", "image_path", "source_row"}
    kept = [
        [{k: v for k, v in row.items() if k not in moved} for row in rows]
        for rows in (before, after)
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("source", WRITERS)
def test_tables(source: str, run_on, tmp_path: Path) -> None:
    """A repeated row is one with the first; a quote that is not closed is a letter."""
    field, write = WRITERS[source]
    roots = [
        run_on(name, source, {field: str(write(tmp_path / f"of_{name}", damaged=bad))}, *FIRST)
        for name, bad in (("clean", False), ("damaged", True))
    ]
    for name in differences(*map(digests, roots)):
        assert re.match(r"data/(pairs/|index/ids\.parquet|index/metadata/)", name)
    bad = compare_rows(*roots)
    assert {row["source_row"]: row["reason"] for row in bad} == BAD[source]


def test_a_split_of_several_shards(run_on, tmp_path: Path) -> None:
    """Other shards are other batches, so last bits may differ. Dense features have another basis:
    it is that of the first shard."""
    arrays, uids, shards = [], [], []
    for name, bad in (("clean", False), ("damaged", True)):
        path = write_kaggle(tmp_path / f"of_{name}", damaged=bad)
        root = run_on(name, "table", {"path": str(path)}, *FIRST, shard_size=4)
        ids = sorted(read_rows(root / "data/index", "ids.parquet"), key=lambda row: row["uid"])
        rows = [row["row"] for row in ids]
        for kind in ("index/img_emb", "index/text_emb", "features/pooled"):
            files = sorted((root / "data" / kind).glob("*.npy"))
            arrays.append(np.concatenate([np.load(file) for file in files])[rows])
        uids.append([row["uid"] for row in ids])
        shards.append([row["shard"] for row in ids])
    assert uids[0] == uids[1]
    assert shards[0] != shards[1]
    for before, after in zip(arrays[:3], arrays[3:]):
        np.testing.assert_allclose(before, after, rtol=2**-9, atol=2**-11)  # of float16
