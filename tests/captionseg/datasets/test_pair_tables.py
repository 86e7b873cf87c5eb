"""Tables of shards that are not what was written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_classes, read_pairs
from captionseg.datasets.shard_images import read_images
from captionseg.records import UserError


@pytest.fixture
def shard(given, picture, tmp_path: Path) -> Path:
    """Folder pairs/ with one shard of three good pictures."""
    write_shards(
        given(*(picture(i) for i in range(3))),
        tmp_path / "pairs",
        tmp_path / "truth",
        shard_size=3,
        min_success=0.0,
        seed=0,
    )
    return tmp_path / "pairs"


DAMAGE = {
    "no sha256": (lambda t: t.drop_columns(["sha256"]), "it has no column sha256"),
    "width as words": (
        lambda t: t.set_column(8, "width", t["width"].cast(pa.string())),
        "width is string, expected int32",
    ),
    "a row less": (
        lambda t: t.slice(1),
        "2 rows with 2 successes, but 00000_stats.json has 3 with 3",
    ),
    "a success less": (
        lambda t: t.set_column(5, "status", pa.array(["success", "success", "lost"])),
        "with 2 succ",
    ),
    "no split": (
        lambda t: t.set_column(4, "split", pa.array([None, "train", "train"])),
        "1 rows without split",
    ),
    "a pair twice": (
        lambda t: t.set_column(0, "uid", pa.array([t["uid"][1].as_py()] * 2 + ["x"])),
        "there 2 times",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_table_that_is_not_what_was_written_is_refused(shard: Path, damage: str) -> None:
    spoil, reason = DAMAGE[damage]
    table = pq.read_table(shard / "00000.parquet")
    pq.write_table(
        spoil(table).cast(pa.schema([table.schema.field(n) for n in spoil(table).schema.names]))
        if damage == "a row less"
        else spoil(table),
        shard / "00000.parquet",
    )
    with pytest.raises(UserError, match=reason):
        read_pairs(shard)


@pytest.mark.parametrize("name", ["00000.parquet", "00000_stats.json", "00000.tar"])
@pytest.mark.parametrize("content", [b"", b"half"])
def test_a_shard_that_is_cut_off_is_one_line(shard: Path, name: str, content: bytes) -> None:
    (shard / name).write_bytes(content)
    with pytest.raises(
        UserError, match=rf"{name}: cannot be read .*; delete 00000_stats.json and download again$"
    ):
        list(read_images(shard, "00000"))


@pytest.mark.parametrize(
    "text",
    [
        '{"names": "dog", "kinds": "object"}',
        '{"names": [1], "kinds": ["object"]}',
        '{"names": null}',
        "[]",
        '{"names": ["dog", "cat"], "kinds": ["object"]}',
    ],
)
def test_classes_of_wrong_types_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(
        UserError, match=r"classes\.json: cannot be read .*; run `dvc repro download`$"
    ):
        read_classes(tmp_path)
