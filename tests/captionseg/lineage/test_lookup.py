"""Which pair is meant."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionseg.lineage.lookup import find_near
from tests.captionseg.lineage.conftest import draw, history, trace


@pytest.mark.parametrize(
    ("wanted", "by"),
    [
        ("captions.csv:4", "source row"),
        ("https://example.org/dog.jpg", "url"),
        ("dog.jpg", "url"),
        ("000000002", "key"),
        ("UID", "uid"),
    ],
)
def test_a_pair_is_found_by(run, capsys, wanted, by):
    row = run.train[2]
    wanted = row["uid"][:8] if wanted == "UID" else wanted
    found = history(capsys, wanted)
    assert (found["pair"]["uid"], found["matched"]["by"]) == (row["uid"], by)


def test_a_picture_is_found_by_its_bytes_else_by_its_look(run, capsys):
    jpeg = draw("dog")
    (run.root / "given.jpg").write_bytes(jpeg)
    assert history(capsys, "given.jpg")["matched"]["by"] == "bytes of the picture"
    (run.root / "original.jpg").write_bytes(jpeg + b"original")
    assert history(capsys, "original.jpg")["matched"]["by"] == "bytes of the picture"
    with Image.open(io.BytesIO(jpeg)) as image:
        image.resize((300, 225)).save(run.root / "larger.png")
    found = history(capsys, "larger.png")
    assert (found["pair"]["uid"], found["matched"]["by"]) == (
        run.train[2]["uid"],
        "look of the picture",
    )
    (run.root / "other.jpg").write_bytes(draw("nobody has seen this"))
    code, _, err = trace(capsys, "other.jpg")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("error: other.jpg: no pair of data/pairs has this")


def test_bits_are_counted():

    hashes = pa.chunked_array([["00000000000000ff", None], ["000000000000000f"]])
    assert [*find_near(hashes, "0000000000000000", 8)] == [(0, 8), (2, 4)]
    assert [*find_near(hashes, "0000000000000000", 4)] == [(2, 4)]


def test_pairs_of_an_older_version(run, capsys):
    path = run.root / "data" / "pairs" / "00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["source_row", "phash"]), path)
    code, _, err = trace(capsys, "cat.jpg")
    assert code == 1
    assert err == (
        "error: data/pairs/00000.parquet: it has no column source_row; made by an older version: "
        "run `dvc repro`\n"
    )
