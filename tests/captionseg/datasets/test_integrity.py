"""No shard goes on its way with a file or a row less."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.datasets import download
from captionseg.datasets.download import write_shards
from captionseg.records import UserError
from captionseg.sources.shapes import Shapes

SMALL = Shapes(train=5, tune=2, test=2, size=32)


def write(folder: Path) -> dict[str, float]:
    return write_shards(
        SMALL, folder / "pairs", folder / "truth", shard_size=3, min_success=0, seed=0
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def shorten(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    path.unlink()
    pq.write_table(table.slice(0, len(table) - 1), path)


def rename(path: Path) -> None:
    """Columns in capitals."""
    table = pq.ParquetFile(path).read()
    path.unlink()
    pq.write_table(table.rename_columns([name.upper() for name in table.column_names]), path)


def other_uids(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    path.unlink()
    pq.write_table(table.set_column(0, table.schema.field(0), pa.array(["x"] * len(table))), path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


def without_last(path: Path) -> None:
    with tarfile.open(path) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar.getmembers()]
    import io

    with tarfile.open(path, "w") as tar:
        for member, data in members[:-3]:
            tar.addfile(member, io.BytesIO(data))


def fewer(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"successes": 2}))


DAMAGE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no tar": ("pairs/00001.tar", Path.unlink, "00001.tar is missing"),
    "torn tar": ("pairs/00001.tar", cut, "00001.tar"),
    "short tar": ("pairs/00001.tar", without_last, "files in the tar: found 3, expected 6"),
    "no parquet": ("pairs/00001.parquet", Path.unlink, "00001.parquet is missing"),
    "torn parquet": ("pairs/00001.parquet", cut, "00001.parquet cannot be read"),
    "short parquet": ("pairs/00001.parquet", shorten, "rows in the parquet: found 1, expected 2"),
    "columns": ("pairs/00001.parquet", rename, "the parquet has other columns"),
    "stats": ("pairs/00001_stats.json", fewer, "successes in the stats: found 2"),
    "no truth": ("truth/00001.parquet", Path.unlink, "00001.parquet is missing"),
    "short truth": ("truth/00001.parquet", shorten, "rows in the truth: found 1, expected 2"),
    "truth of others": ("truth/00001.parquet", other_uids, "the truth has other uids"),
}
DAMAGE["stats"] = ("pairs/00000_stats.json", fewer, "successes in the stats: found 2, expected 3")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    write(folder)
    return contents(folder)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_finished_shard_that_is_not_whole_is_made_again(whole, tmp_path, kind, caplog):
    write(tmp_path)
    file, damage, reason = DAMAGE[kind]
    damage(tmp_path / file)
    write(tmp_path)
    assert contents(tmp_path) == whole
    assert len(caplog.messages) == 1
    assert f"shard {Path(file).name[:5]} of " in caplog.text
    assert reason in caplog.text


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_lost_while_others_are_made_stops_the_stage(whole, tmp_path, monkeypatch, kind):
    """As when two runs work in one folder; DVC would lock what is left."""
    file, damage, reason = DAMAGE[kind]

    def spread(work, jobs, *_, **__):
        for job in jobs:
            yield work(job)
        damage(tmp_path / file)

    monkeypatch.setattr(download, "spread", spread)
    with pytest.raises(
        UserError, match=rf"download: shard {Path(file).name[:5]} of .* is not whole"
    ) as caught:
        write(tmp_path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    write(tmp_path)
    assert contents(tmp_path) == whole
