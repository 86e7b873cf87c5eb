"""Your own pictures: what is taken, which split it is in, and what is written."""

import io
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_classes, read_pairs, read_truth
from captionseg.datasets.shard_images import read_images
from captionseg.records import UserError
from captionseg.sources import folder
from captionseg.sources.folder import Folder
from captionseg.sources.reasons import FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE
from captionseg.sources.source import Sample
from tests.captionseg.sources.conftest import encoded, noise


def put(
    root: Path, name: str, data: bytes | None = None, caption: str | bytes | None = "a caption"
) -> Path:
    """A picture (some noise of its own by default) and its caption."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(noise(zlib.crc32(name.encode()))) if data is None else data)
    if caption is not None:
        path.with_suffix(".txt").write_bytes(
            caption if isinstance(caption, bytes) else caption.encode()
        )
    return path


def take(root: Path, **settings) -> dict[str, Sample]:
    """All samples of a folder, by url."""
    source = Folder(str(root), **settings)
    source.prepare()
    samples = [
        s for split, n in source.splits().items() for s in source.samples(split, range(n), seed=0)
    ]
    assert len({s.url for s in samples}) == len(samples)
    return {s.url: s for s in samples}


def only(root: Path, **settings) -> Sample:
    (sample,) = take(root, **settings).values()
    return sample


def pixels(sample: Sample) -> np.ndarray:
    assert sample.jpeg is not None, sample.error
    image = Image.open(io.BytesIO(sample.jpeg))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (sample.width, sample.height))
    return np.asarray(image).astype(int)


def refused(sample: Sample, status: str, reason: str) -> None:
    assert (sample.status, sample.jpeg, sample.width, sample.height) == (status, None, 0, 0)
    assert sample.error.startswith(reason), sample.error
    assert "\n" not in sample.error
    assert "0x" not in sample.error, "a memory address differs from run to run"


# ------------------------------------------------------------------------------------------------
# good ones


def test_a_good_picture(tmp_path: Path) -> None:
    put(
        tmp_path, "sub/deep/a b.PNG", encoded(noise(1, 900, 600)), " two\r\nlines,\tand\x00 more \n"
    )
    sample = only(tmp_path, max_side=300, caption_lines="joined")
    assert sample.url == "sub/deep/a b.PNG"
    assert sample.caption == "two lines, and more"
    assert (sample.width, sample.height) == (300, 200)
    assert (sample.status, sample.error, sample.mask, sample.concepts) == (
        "success",
        None,
        None,
        (),
    )
    pixels(sample)


def test_small_pictures_are_not_enlarged(tmp_path: Path) -> None:
    put(tmp_path, "a.png", encoded(Image.new("RGB", (20, 18), (10, 200, 30))))
    sample = only(tmp_path)
    assert np.abs(pixels(sample) - (10, 200, 30)).max() <= 4
    assert (sample.width, sample.height) == (20, 18)


@pytest.mark.parametrize("caption", ["wörd 日本語 👩‍👩‍👧", "\ufeffa caption", "word " * 3000])
def test_captions_that_are_kept(caption: str, tmp_path: Path) -> None:
    put(tmp_path, "a.png", caption=caption)
    assert only(tmp_path).caption == caption.strip("\ufeff ")


@pytest.mark.parametrize(
    "name",
    [
        "日本語.png",
        "e\u0301 (1).png",
        "👩‍👩‍👧.png",
        "a\nb.png",
        "-rf *.png",
        "a.b.c.png",
        "%2e%2e.png",
    ],
)
def test_odd_names(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)
    assert only(tmp_path).status == "success"
    assert only(tmp_path).url == name


def test_a_name_that_is_no_text_at_all(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "x") + b"\xff"
    try:
        Path(os.fsdecode(path + b".png")).write_bytes(encoded(noise(1)))
    except OSError:
        pytest.skip("this file system has no such names")
    Path(os.fsdecode(path + b".txt")).write_text("a caption")
    Path(os.fsdecode(path + b"copy.png")).write_bytes(encoded(noise(1)))
    Path(os.fsdecode(path + b"copy.txt")).write_text("a caption")
    samples = take(tmp_path)
    assert samples["x\\udcff.png"].status == "success"
    refused(samples["x\\udcffcopy.png"], FAILED_TO_DOWNLOAD, "duplicate of x\\udcff.png")
    write_shards(
        Folder(str(tmp_path)), tmp_path / "p", tmp_path / "t", shard_size=9, min_success=0, seed=0
    )


def test_another_suffix_of_captions(tmp_path: Path) -> None:
    put(tmp_path, "a.png", caption=None)
    (tmp_path / "a.caption.TXT").write_text("from the other file")
    (tmp_path / "a.json").write_text("{}")
    assert only(tmp_path, caption_suffix=".caption.txt").caption == "from the other file"


# ------------------------------------------------------------------------------------------------
# mistakes in the settings


@pytest.mark.parametrize("root", ["", "nowhere", "file.png", "empty", "hidden"])
def test_no_pictures_is_one_line(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "file.png")
    (tmp_path / "empty").mkdir()
    put(tmp_path, "hidden/.a.png")
    (tmp_path / "hidden" / ".a.txt").unlink()
    with pytest.raises(UserError, match=r"^download\.folder\.root: .*pictures") as caught:
        Folder(root).prepare()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tune": -0.1},
        {"test": 1.2},
        {"tune": 0.6, "test": 0.6},
        {"max_side": 15},
        {"caption_suffix": "txt"},
        {"caption_suffix": ".PNG"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Folder("x", **wrong)


# ------------------------------------------------------------------------------------------------
# all together


def test_splits_follow_the_content(album: Path) -> None:
    """A picture stays in its split when it is renamed, and when others come or go; shares are about
    as asked for.
    """

    def splits() -> dict[str, str]:
        return {s.caption: s.split for s in take(album, tune=0.25, test=0.25).values()}

    before = splits()
    (album / "01.png").rename(album / "moved.png")
    (album / "01.txt").rename(album / "moved.txt")
    for number in range(200, 230):
        put(album, f"new/{number}.png", encoded(noise(number)), caption=f"new {number}")
    after = splits()
    assert {caption: after[caption] for caption in before} == before
    assert 0.1 < np.mean([split == "tune" for split in after.values()]) < 0.4
    assert {s.split for s in take(album, tune=0, test=0).values()} == {"train"}
    assert {s.split for s in take(album, tune=0, test=1).values()} == {"test"}


def test_nothing_is_lost_in_the_shards(album: Path, tmp_path: Path) -> None:
    source = Folder(str(album), tune=0.2, test=0.2)
    pairs, truth = tmp_path / "pairs", tmp_path / "truth"
    metrics = write_shards(source, pairs, truth, shard_size=6, min_success=0.5, seed=0)
    rows = [
        row for path in sorted(pairs.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    assert sorted(row["url"] for row in rows) == sorted(
        str(p.relative_to(album)) for p in album.rglob("*") if p.suffix in (".png", ".jpg")
    )
    assert {row["url"]: row["status"] for row in rows if row["status"] != "success"} == {
        "lonely.png": FAILED_TO_DOWNLOAD,
        "broken.jpg": FAILED_TO_RESIZE,
    }
    assert metrics == {"pairs": 20, "download_success": 20 / 22}
    assert read_pairs(pairs).num_rows == 20
    assert sum(1 for p in pairs.glob("*_stats.json") for _ in read_images(pairs, p.name[:5])) == 20
    assert len(read_truth(truth)) == 0
    assert read_classes(truth).names == ()
    assert not (pairs / "licences.csv").exists()


def test_pictures_that_come_between_two_runs(album: Path, tmp_path: Path) -> None:
    """A killed run is not gone on with when the listing is another one: rows would be lost or
    twice.
    """
    pairs, truth = tmp_path / "pairs", tmp_path / "truth"
    settings = {"shard_size": 6, "min_success": 0.5, "seed": 0}
    source = Folder(str(album), tune=0, test=0)
    write_shards(source, pairs, truth, **settings)
    (pairs / "00003_stats.json").unlink()
    put(album, "00first.png")
    for name in ("05", "06", "07", "09", "10"):
        (album / f"{name}.png").unlink()
        (album / f"{name}.txt").unlink()
    write_shards(replace(source), pairs, truth, **settings)
    rows = [
        row for path in sorted(pairs.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    assert [row["url"] for row in rows] == sorted(
        str(p.relative_to(album)) for p in album.rglob("*") if p.suffix in (".png", ".jpg")
    )
    assert len(list(truth.glob("0*.parquet"))) == len(list(pairs.glob("*.tar"))) == 3


def test_every_file_is_read_twice_at_most(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear cost: once for the listing, once for its sample."""
    reads: list[str] = []
    real = folder.read_contents
    monkeypatch.setattr(
        folder,
        "read_contents",
        lambda top, path, *a, **k: (reads.append(path), real(top, path, *a, **k))[1],
    )
    take(album)
    assert max(map(reads.count, reads)) == 2
    # pictures and captions of the listing, samples of what has a caption
    assert len(reads) == 22 + 21 + 21
