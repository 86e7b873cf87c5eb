"""Images that stay where the source has them: shards with places instead of JPEGs."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionseg.datasets.download import write_shards
from captionseg.datasets.random_access import Pictures
from captionseg.datasets.shard_images import read_images
from captionseg.records import UserError
from captionseg.sources.shards import Shards
from tests.captionseg.sources.layouts import write_img2dataset, write_tar

COUNT = 20
GOOD = COUNT - 2  # one is broken, and one is gone


def download(source: Path, out: Path, *, in_place: bool = True, earlier: Path | None = None):
    """Pairs of a source, in two shards, with images as they are or copied."""
    write_shards(
        Shards(path=str(source), tune=0, test=0, in_place=in_place),
        out / "pairs",
        out / "truth",
        shard_size=12,
        min_success=0.5,
        seed=0,
        earlier=earlier and (earlier / "pairs", earlier / "truth"),
    )
    return out / "pairs"


def picture(width: int, form: str) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((width, 30), 64).convert("RGB").save(stream, form)
    return stream.getvalue()


def read_all(pairs: Path) -> list[tuple[str, np.ndarray]]:
    return [pair for shard in ("00000", "00001") for pair in read_images(pairs, shard)]


def in_any_order(pairs: Path) -> Pictures:
    tables = [pq.read_table(pairs / f"{shard}.parquet") for shard in ("00000", "00001")]
    rows = [
        (f"{number:05d}", row["key"], row["uid"])
        for number, table in enumerate(tables)
        for row in table.to_pylist()
        if row["status"] == "success"
    ]
    return Pictures(pairs, *zip(*rows))


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_images_are_those_of_a_copy_and_take_no_room(form: str, tmp_path: Path) -> None:
    source = write_img2dataset(tmp_path / "source", COUNT, form)
    pairs = download(source, tmp_path / "in_place")
    copied = download(source, tmp_path / "copied", in_place=False)
    found, expected = read_all(pairs), read_all(copied)
    assert [uid for uid, _ in found] == [uid for uid, _ in expected]
    assert len(found) == GOOD
    pictures = in_any_order(pairs)
    for row, ((_, image), (_, other)) in enumerate(zip(found, expected)):
        np.testing.assert_array_equal(image, other)
        np.testing.assert_array_equal(pictures[row], other)
    for name in ("00000", "00001"):
        assert pq.read_table(pairs / f"{name}.parquet") == pq.read_table(copied / f"{name}.parquet")
        with tarfile.open(pairs / f"{name}.tar") as tar:
            assert not [member for member in tar.getnames() if member.endswith(".jpg")]
            assert max(member.size for member in tar) < 1000


def test_an_image_that_needs_a_change_is_in_the_shard(tmp_path: Path) -> None:
    """A PNG becomes a JPEG, and a large one is shrunk."""
    files = [
        *(("1.png", picture(40, "PNG")), ("1.txt", b"a cat")),
        *(("2.jpg", picture(40, "JPEG")), ("2.txt", b"a dog")),
        *(("3.jpg", picture(900, "JPEG")), ("3.txt", b"a road")),
    ]
    write_tar(tmp_path / "0.tar", files)
    write_shards(
        Shards(path=str(tmp_path / "0.tar"), tune=0, test=0, in_place=True),
        tmp_path / "pairs",
        tmp_path / "truth",
        shard_size=9,
        min_success=1,
        seed=0,
    )
    with tarfile.open(tmp_path / "pairs/00000.tar") as tar:
        images = [name for name in tar.getnames() if not name.endswith((".txt", ".json"))]
    assert images == ["000000000.jpg", "000000001.place", "000000002.jpg"]
    assert [image.shape for _, image in read_images(tmp_path / "pairs", "00000")] == [
        (30, 40, 3),
        (30, 40, 3),
        (17, 512, 3),
    ]


def test_a_source_that_moved_or_changed_is_one_line(tmp_path: Path) -> None:
    source = write_img2dataset(tmp_path / "source", COUNT, "webdataset")
    pairs = download(source, tmp_path)
    pictures = in_any_order(pairs)
    _ = pictures[0]
    data = bytearray((source / "00000.tar").read_bytes())
    data[700:720] = bytes(20)
    (source / "00000.tar").write_bytes(data)
    changed = rf"{source}/00000.tar, byte 512 .00000.tar: 000000000. is not the image that was"
    for read in (lambda: pictures[0], lambda: read_all(pairs)):
        with pytest.raises(UserError, match=changed):
            read()
    source.rename(tmp_path / "moved")
    gone = (
        rf"{source}/00000.tar: cannot be read \(No such file or directory\); images of "
        r".*pairs/00000.tar were left there \(download.shards.in_place\): put it back, or delete "
        "00000_stats.json and download again"
    )
    for read in (lambda: pictures[0], lambda: read_all(pairs)):
        with pytest.raises(UserError, match=gone):
            read()


def test_a_second_download_keeps_them_there(tmp_path: Path) -> None:
    source = write_img2dataset(tmp_path / "source", COUNT, "webdataset")
    pairs = download(source, tmp_path / "first")
    again = download(source, tmp_path / "again", earlier=tmp_path / "first")
    for name in ("00000.tar", "00001.tar", "00000.parquet", "00001.parquet"):
        assert (again / name).read_bytes() == (pairs / name).read_bytes()


def test_a_place_that_is_none_is_one_line(tmp_path: Path) -> None:
    pairs = download(write_img2dataset(tmp_path / "source", COUNT, "webdataset"), tmp_path)
    with tarfile.open(pairs / "00000.tar") as tar:
        names = tar.getnames()
    write_tar(pairs / "00000.tar", [(name, b"[]") for name in names])
    with pytest.raises(UserError, match=r"00000.tar: cannot be read .*; delete 00000_stats.json"):
        read_all(pairs)


def test_where_it_cannot_be_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match="in_place: s3://a/b is not on a disk of this machine"):
        Shards(path="s3://a/b", in_place=True).prepare()
    source = write_img2dataset(tmp_path / "source", COUNT, "parquet")
    pairs = download(source, tmp_path)
    assert "in_place: images in parquet files are copied" in caplog.text
    shutil.rmtree(source)
    assert len(read_all(pairs)) == GOOD
