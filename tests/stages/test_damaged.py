"""Damaged data through all stages: every bad row is counted with its reason, and all that is made
of the others has the bytes that it has without them.

A shard of the output is so many rows of the source. A bad row therefore moves the rows behind it,
and these have other keys and may be in the next shard. Where a split is one shard, all files are
compared; where it is several, arrays are compared pair by pair.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.run import STAGES
from tests.captionseg.sources.layouts import write_tar
from tests.soak.checkout import differences, digests
from tests.stages.given import draw, read_rows, run_stages, say, set_params

File = tuple[str, bytes]
FIRST = ("download", "index")
HOSTILE = b"<p>a photo of<br/>\r\n a <b>blue</b>\0 ring &amp;\n\n a\x1b black\x00 star</p>"
CLEAN = b"a photo of a blue ring & a black star"
CUT = 100  # bytes of a picture that a tar ends in


def sample(number: int, text: bytes | None = None, key: str = "") -> list[File]:
    """A picture and its caption, as files of a tar."""
    key, text = key or f"{number:04d}", say(number, 0).encode() if text is None else text
    return [(f"{key}.jpg", draw(number)), (f"{key}.txt", text)]


def samples(numbers: Iterable[int]) -> list[File]:
    """Several of them."""
    return [file for number in numbers for file in sample(number)]


def write_clean(root: Path) -> Path:
    """The good samples alone."""
    root.mkdir()
    write_tar(root / "0.tar", samples(n for n in range(100) if n != 50))
    write_tar(root / "1.tar", [*sample(100, CLEAN), *samples(range(101, 105))])
    write_tar(root / "2.tar", samples(range(105, 110)))
    return root


def write_damaged(root: Path) -> Path:
    """The same, and bad ones among them; what each comes to is in OUTCOMES."""
    root.mkdir()
    corrupt = [("0050.jpg", draw(50)[:300]), ("0050.txt", b"a corrupt picture")]
    write_tar(root / "0.tar", [*samples(range(50)), *corrupt, *samples(range(51, 100))])
    write_tar(
        root / "1.tar",
        [
            ("../up.jpg", draw(1)),
            ("../up.txt", b"a picture outside"),
            *sample(100, HOSTILE),
            *sample(101),
            *sample(101, b"another caption of the same key"),
            ("/etc/abs.jpg", draw(2)),
            ("mute.jpg", draw(3)),
            *samples([102, 103]),
            ("in/../../up.jpg", draw(4)),
            ("blind.txt", b"no picture at all"),
            *sample(104),
        ],
    )
    path = write_tar(root / "2.tar", samples(range(105, 115)))
    with tarfile.open(path) as tar:
        at = tar.getmember("0110.jpg").offset_data
    path.write_bytes(path.read_bytes()[: at + CUT])
    return root


OUTCOMES = {
    "0.tar:0050": "not_decodable",
    "1.tar:../up.jpg": "unsafe_path",
    "1.tar:../up.txt": "unsafe_path",
    "1.tar:/etc/abs.jpg": "unsafe_path",
    "1.tar:in/../../up.jpg": "unsafe_path",
    "1.tar:0101.jpg": "duplicate_key",
    "1.tar:0101.txt": "duplicate_key",
    "1.tar:mute": "no_caption",
    "1.tar:blind": "no_picture",
    "2.tar": "damaged_archive",
}
GOOD = 109


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
    counted = {name: int(n) for name, n in re.findall(r"<b>(\w+)</b>.*?<td>(\d+)</td>", page)}
    assert counted == Counter(OUTCOMES.values())
    assert f"all {GOOD + len(OUTCOMES)} source rows" in page
    before, after = (
        (root / "reports/index.html").read_text().splitlines() for root in (clean, damaged)
    )
    lines = [b for a, b in zip(before, after, strict=True) if a != b]
    assert "Source rows that gave no picture: 10." in lines[0]
    assert "<td>pairs</td><td>119</td>" in lines[1]  # of validation
    assert len(lines) == 2


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


def write_kaggle(root: Path, *, damaged: bool) -> Path:
    """Kaggle's layout of 20 pictures with two captions each, with bad rows or without."""
    (root / "Images").mkdir(parents=True)
    lines = [b"image,caption"]
    for number in range(20):
        (root / "Images" / f"{number}.jpg").write_bytes(draw(number))
        text = say(number, 0).encode() if number != 5 else HOSTILE if damaged else CLEAN
        lines.append(b'%d.jpg,"%s"' % (number, text))
        if number == 9:
            text = b"a quote that is not closed"
            lines[-1] = b'9.jpg,"%s' % text if damaged else b'9.jpg,"""%s"' % text
        lines.append(b"%d.jpg,%s" % (number, say(number, 1).encode()))
    if damaged:
        (root.parent / "secret.jpg").write_bytes(draw(30))
        for name in ("mute", "latin", "cells"):
            (root / "Images" / f"{name}.jpg").write_bytes(draw(31))
        (root / "Images/corrupt.jpg").write_bytes(draw(32)[:300])
        lines[7:7] = [
            b"corrupt.jpg,a corrupt picture",
            b"../../secret.jpg,a picture outside",
            b"gone.jpg,a picture that is not there",
            b"mute.jpg,",
            b"latin.jpg,caf\xe9",
            b"cells.jpg,a comma, and another",
            b"2.jpg," + say(2, 0).encode(),  # is there already
        ]
    (root / "captions.txt").write_bytes(b"\n".join(lines) + b"\n")
    return root


def write_coco(root: Path, *, damaged: bool) -> Path:
    """COCO's layout of 20 pictures with two captions each, with bad entries or without."""
    (root / "mini").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, annotations = [], []
    for number in range(20):
        (root / "mini" / f"{number:012d}.jpg").write_bytes(draw(number))
        images.append({"id": number, "file_name": f"{number:012d}.jpg"})
        text = (HOSTILE if damaged else CLEAN).decode() if number == 5 else say(number, 0)
        annotations += [{"image_id": number, "caption": c} for c in (text, say(number, 1))]
    if damaged:
        (root / "secret.jpg").write_bytes(draw(30))
        (root / "mini/corrupt.jpg").write_bytes(draw(32)[:300])
        (root / "mini/mute.jpg").write_bytes(draw(31))
        images[7:7] = [
            {"id": 100, "file_name": "corrupt.jpg"},
            {"id": 101, "file_name": "../secret.jpg"},
            {"id": 102, "file_name": "gone.jpg"},
            {"id": 103, "file_name": "mute.jpg"},
            {"id": 3, "file_name": "mute.jpg"},
            {"id": 104},
        ]
        annotations[9:9] = [
            *({"id": n, "image_id": 100 + n, "caption": "a bad picture"} for n in (0, 1, 2)),
            {"id": 7, "image_id": 999, "caption": "a caption of nothing"},
            {"id": 8, "image_id": 6, "caption": 6},
        ]
    content = {"images": images, "annotations": annotations}
    path = root / "annotations/captions_mini.json"
    path.write_text(json.dumps(content))
    return path


WRITERS = {"table": ("path", write_kaggle), "coco_captions": ("annotations", write_coco)}
BAD = {
    "table": {
        "captions.txt:8": "not_decodable",
        "captions.txt:9": "unsafe_path",
        "captions.txt:10": "no_picture",
        "captions.txt:11": "no_caption",
        "captions.txt:12": "bad_caption",
        "captions.txt:13": "unreadable_file",
    },
    "coco_captions": {
        "captions_mini.json:100": "not_decodable",
        "captions_mini.json:101": "unsafe_path",
        "captions_mini.json:annotation 1": "no_picture",  # its image was refused
        "captions_mini.json:102": "no_picture",
        "captions_mini.json:103": "no_caption",
        "captions_mini.json:3": "duplicate_key",
        "captions_mini.json:104": "no_picture",
        "captions_mini.json:annotation 7": "no_picture",
        "captions_mini.json:6": "bad_caption",
    },
}


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
