"""What listed sources share: the listing on disk, captions, repeats, original sizes."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from captionseg.sources.listing import ListedSource
from captionseg.sources.listing_rows import LISTING, Row, make_batch
from captionseg.sources.reasons import REASONS, Refusal, find_status


def picture(number: int, size: tuple[int, int] = (60, 40), exif: int | None = None) -> bytes:
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    tags = Image.Exif()
    if exif:
        tags[0x0112] = exif
    image.save(stream := io.BytesIO(), "JPEG", exif=tags)
    return stream.getvalue()


@dataclass(frozen=True)
class Listed(ListedSource):
    """Rows of (picture, captions), three a batch; what is not in `broken` is a picture."""

    rows: tuple[tuple[str, tuple[str, ...]], ...] = ()
    broken: tuple[str, ...] = ()
    exif: int | None = None

    def list_batches(self) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self.rows), 3):
            yield make_batch(
                [
                    {
                        "picture": name,
                        "captions": list(captions),
                        "source_row": f"list:{start + i}",
                        "sha256": "",
                    }
                    for i, (name, captions) in enumerate(self.rows[start : start + 3])
                ]
            )

    def read(self, rows: Sequence[Row]) -> Iterator[bytes | Refusal]:
        for row in rows:
            if row.picture in self.broken:
                yield Refusal("not_found", "HTTP 404")
            else:
                number = int(hashlib.sha256(row.picture.encode()).hexdigest()[:6], 16)
                yield picture(number, exif=self.exif)


ROWS = tuple((f"p{number}", (f"a {number}", f"b {number}")) for number in range(8))


def all_samples(source: ListedSource) -> list:
    return [
        sample
        for split, count in source.splits().items()
        for sample in source.samples(split, range(count), seed=0)
    ]


def test_every_row_is_there_once_in_its_split(tmp_path: Path) -> None:
    source = Listed(ROWS, tune=0.3, test=0.3, broken=("p3",))
    source.prepare(tmp_path)
    samples = all_samples(source)
    assert sorted(s.url for s in samples) == sorted(name for name, _ in ROWS)
    assert sum(source.splits().values()) == 8
    failed = [s for s in samples if s.status != "success"]
    assert [(s.url, s.reason, s.error, s.caption) for s in failed] == [
        ("p3", "not_found", "HTTP 404", "a 3")
    ]
    assert all(s.held_out == (s.caption.replace("a", "b"),) for s in samples)
    assert repr(source).count("listing='") == 1
    assert str(tmp_path) not in repr(source), "or a resumed run elsewhere would begin anew"


def test_the_listing_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    one, other = Listed(ROWS), Listed(ROWS)
    one.prepare(tmp_path / "one")
    other.prepare(tmp_path / "other")
    assert one.listing == other.listing
    changed = Listed((*ROWS[:-1], ("p7", ("c 7",))))
    changed.prepare(tmp_path / "changed")
    assert changed.listing != one.listing
    assert pickle.loads(pickle.dumps(one)).samples("train", [0], seed=0)[0].url


def test_a_pair_that_comes_again_is_refused_and_its_picture_is_not(tmp_path: Path) -> None:
    rows = (("p1", ("x",)), ("p2", ("x",)), ("p1", ("y",)), ("p1", ("x",)), ("p2", ()))
    samples = all_samples(Listed(rows, tune=0.0, test=0.0))
    assert [(s.url, s.caption, s.reason) for s in samples] == [
        ("p1", "x", None),
        ("p2", "x", None),
        ("p1", "y", None),
        ("p1", "x", "repeated_row"),
        ("p2", "", "no_caption"),
    ]


@pytest.mark.parametrize(
    ("exif", "size"), [(None, (60, 40)), (3, (60, 40)), (6, (40, 60)), (99, (60, 40))]
)
def test_the_size_that_a_picture_came_with(exif: int | None, size: tuple[int, int]) -> None:
    (sample,) = all_samples(Listed((("p", ("x",)),), max_side=30, exif=exif))
    assert (sample.original_width, sample.original_height) == size
    assert (sample.width, sample.height) == (size[0] // 2, size[1] // 2)
    number = int(hashlib.sha256(b"p").hexdigest()[:6], 16)
    assert sample.original_sha256 == hashlib.sha256(picture(number, exif=exif)).hexdigest()


@dataclass(frozen=True)
class Kept(Listed):
    """Keeps JPEGs that need no change."""

    KEEPS_JPEG = True


@pytest.mark.parametrize(
    ("exif", "max_side", "kept"), [(None, 60, True), (None, 59, False), (6, 512, False)]
)
def test_a_jpeg_that_needs_no_change_stays_byte_for_byte(exif, max_side, kept) -> None:
    (sample,) = all_samples(Kept((("p", ("x",)),), max_side=max_side, exif=exif))
    number = int(hashlib.sha256(b"p").hexdigest()[:6], 16)
    assert (sample.jpeg == picture(number, exif=exif)) == kept


def test_reasons_are_a_closed_list() -> None:
    assert all(find_status(reason).startswith("failed_to_") for reason in REASONS)
    with pytest.raises(ValueError, match="not in REASONS"):
        Refusal("because", "x")
    assert make_batch([]).schema.equals(LISTING)
