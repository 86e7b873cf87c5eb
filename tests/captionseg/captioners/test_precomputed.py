"""Captions from a file: by uid or url, what is missing, and files that are none."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.captioners.captioner import NoCaption
from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.precomputed import PrecomputedParams
from captionseg.records import UserError

IMAGES = [np.zeros((4, 4, 3), np.uint8)] * 2


def write(path, **columns) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_looked_up_by_uid(tmp_path):
    file = write(
        tmp_path / "c.parquet",
        uid=["z", "ü", "a"],
        url=["1", "2", "3"],
        caption=["zed", "you", "ay"],
    )
    captioner = CaptionParams(captioner="precomputed", precomputed=PrecomputedParams(file)).build()
    assert captioner.captions(IMAGES, ["", ""], uids=["a", "ü"]) == ["ay", "you"]


def test_looked_up_by_url_in_a_column_of_another_name(tmp_path):
    file = write(
        tmp_path / "c.parquet", url=["u/2", "u/1"], text=pa.array(["two", None]).dictionary_encode()
    )
    captioner = PrecomputedParams(file, column="text").build()
    assert captioner.captions(IMAGES, ["", ""], uids=["x", "y"], urls=["u/1", "u/2"]) == ["", "two"]


def test_what_is_missing_is_named(tmp_path):
    captioner = PrecomputedParams(write(tmp_path / "c.parquet", uid=["b"], caption=["bee"])).build()
    for uid in ("a", "c"):
        with pytest.raises(NoCaption, match=f"no caption for uid {uid} in .*c.parquet"):
            captioner.captions(IMAGES, ["", ""], uids=["b", uid])
    with pytest.raises(ValueError, match="2 pictures, 0 of uids"):
        captioner.captions(IMAGES, ["", ""])


def test_an_empty_file_has_nothing(tmp_path):
    empty = pa.array([], pa.string())
    captioner = PrecomputedParams(write(tmp_path / "c.parquet", uid=empty, caption=empty)).build()
    with pytest.raises(NoCaption):
        captioner.captions(IMAGES[:1], [""], uids=["a"])


def test_other_content_has_another_key(tmp_path):
    one, same, other = (
        PrecomputedParams(write(tmp_path / f"{i}.parquet", uid=["a"], caption=[text])).build().key
        for i, text in enumerate(["x", "x", "y"])
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"uid": ["a", "b", "a"], "caption": ["x"] * 3}, "several rows for uid a"),
        ({"uid": ["a", None], "caption": ["x"] * 2}, "1 rows without uid"),
        ({"image": ["a"], "caption": ["x"]}, "has columns image, caption; expected uid or url"),
        ({"uid": ["a"], "text": ["x"]}, "'caption' \\(precomputed.column\\)"),
        ({"uid": ["a"], "caption": [["x"]]}, "not a parquet file of captions"),
    ],
)
def test_files_that_will_not_do(tmp_path, columns, message):
    with pytest.raises(UserError, match=message) as error:
        PrecomputedParams(write(tmp_path / "c.parquet", **columns)).build()
    assert "\n" not in str(error.value)


def test_no_file_and_no_parquet(tmp_path):
    (tmp_path / "c.parquet").write_text("uid,caption\n")
    for file, message in (
        (str(tmp_path / "c.parquet"), "not a parquet file"),
        ("no.parquet", "no file"),
        ("", "no file"),
    ):
        with pytest.raises(UserError, match=message) as error:
            PrecomputedParams(file).build()
        assert "\n" not in str(error.value)
