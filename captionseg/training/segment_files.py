"""Writes the segments that a recipe learns from as columns on disk, and maps them.

As with the columns of the supervision, one process writes them, and all ranks and seeds map them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from captionseg.datasets.ids import stream_ids
from captionseg.grids import shares
from captionseg.records import SEGMENTS, UserError
from captionseg.segment_text.phrases import normalise_text
from captionseg.segment_text.rle import decode
from captionseg.storage.folders import list_files
from captionseg.storage.reading import read_array, read_batches
from captionseg.storage.writing import write_array
from captionseg.training.segment_set import MASKS, EncodedMasks, SegmentSet
from captionseg.training.stored_columns import (
    GrowingArray,
    ListWriter,
    TextWriter,
    read_lists,
    read_texts,
)

ROWS, TEXTS = 1024, 1024
"""Number of rows that are read, and of texts that are embedded at once."""

FindRows = Callable[[Sequence[str]], np.ndarray]
"""uids [n] -> their rows of the index; -1 for pairs that are not trained on."""


class RowFinder:
    """Finds the rows of training pairs by hashes of their uids: 16 bytes a pair.

    Args:
        index: folder of the index.
        rows: [N] rows of the index, in ascending order.
    """

    def __init__(self, index: Path, rows: np.ndarray) -> None:
        hashes = []
        for ids in stream_ids(index):
            first, end = np.searchsorted(rows, [ids["row"][0].as_py(), ids["row"][-1].as_py() + 1])
            chosen = pa.array(rows[first:end] - ids["row"][0].as_py())
            hashes.append(hash_texts(ids["uid"].take(chosen).to_pylist()))
        joined = np.concatenate([*hashes, np.zeros(0, np.int64)])
        order = np.argsort(joined)
        self.hashes, self.rows = joined[order], np.asarray(rows)[order]

    def __call__(self, uids: Sequence[str]) -> np.ndarray:
        """See FindRows."""
        wanted = hash_texts(uids)
        place = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return np.where(self.hashes[place] == wanted, self.rows[place], -1)


def hash_texts(texts: Sequence[str]) -> np.ndarray:
    """Hash n texts, [n] int64; another hash in each process that Python starts."""
    return np.fromiter(map(hash, texts), np.int64, len(texts))


@dataclass(frozen=True)
class MaskForm:
    """How masks are stored.

    Attributes:
        grid: height and width of the grid to which masks are reduced.
        coded: whether run lengths are stored, for pictures that are cropped.
    """

    grid: tuple[int, int]
    coded: bool = False


class _MaskWriter:
    """Writes masks in a form: masks.npy, or rle_*.npy and size.npy."""

    def __init__(self, place: Path, form: MaskForm, stack: ExitStack) -> None:
        self.form = form
        if form.coded:
            self.rles = stack.enter_context(closing(TextWriter(place, "rle")))
            self.sizes = stack.enter_context(
                closing(GrowingArray(place / "size.npy", np.int32, (2,)))
            )
        else:
            self.masks = stack.enter_context(
                closing(GrowingArray(place / "masks.npy", np.float16, form.grid))
            )

    def append(self, rles: Sequence[str], shape: tuple[int, int]) -> None:
        """Append masks of pictures of one size (height, width)."""
        if self.form.coded:
            self.rles.append(pa.array(rles, pa.string()))
            self.sizes.append(np.tile(shape, (len(rles), 1)))
        else:
            self.masks.append(shares(decode(rles, *shape), self.form.grid))


def write_segments(
    folder: Path,
    place: Path,
    find_rows: FindRows,
    size: int,
    *,
    form: MaskForm,
    encode: Callable[[Sequence[str]], np.ndarray],
    kinds: Collection[str],
    templates: Sequence[str],
) -> None:
    """Write the segments of training pairs, shard by shard.

    Args:
        folder: folder of the segment_text stage.
        place: empty folder to write to, see `map_segments`.
        find_rows: see FindRows.
        size: number of rows of the index.
        form: how masks are stored.
        encode: texts -> [n, D] embeddings.
        kinds: kinds of texts to use; segments without such a text are left out.
        templates: templates of the texts.

    Raises:
        UserError: if none of the pairs has a segment.
    """
    number: dict[str, int] = {}
    with ExitStack() as stack:
        masks = _MaskWriter(place, form, stack)
        owner = stack.enter_context(closing(GrowingArray(place / "owner.npy", np.int64)))
        named = stack.enter_context(closing(ListWriter(place, "text", {"number": np.int32})))
        for shape, rows, some in segments_of(folder, find_rows, kinds):
            masks.append([segment["rle"] for segment in some], shape)
            owner.append(np.array(rows))
            texts = [dict.fromkeys(map(normalise_text, segment["texts"])) for segment in some]
            numbers = [number.setdefault(text, len(number)) for row in texts for text in row]
            named.append(np.array([len(row) for row in texts]), {"number": np.array(numbers)})
        if not owner.count:
            raise UserError(
                f"{folder}: no segments for any training row; check segment_text.split, "
                "segment_text.curation and the kinds of texts that the model learns from"
            )
        phrases = stack.enter_context(closing(TextWriter(place, "phrase")))
        phrases.append(pa.array(list(number), pa.string()))
        write_embeddings(list(number), encode, templates, place / "embedding.npy")
    owners = read_array(place / "owner.npy")
    order = np.argsort(owners, kind="stable")
    write_array(order, place / "order.npy")
    write_array(np.searchsorted(owners[order], np.arange(size + 1)), place / "start.npy")


def map_segments(place: Path, form: MaskForm) -> SegmentSet:
    """Map the segments that `write_segments` left."""
    names = ("start", "order", "embedding")
    start, order, embedding = (read_array(place / f"{name}.npy") for name in names)
    width = int(np.diff(read_array(place / "text_start.npy")).max())
    if form.coded:
        masks = EncodedMasks(form.grid, read_texts(place, "rle"), read_array(place / "size.npy"))
    else:
        masks = read_array(place / "masks.npy")
    return SegmentSet(
        start,
        order,
        masks,
        read_lists(place, "text", width, {"number": -1})["number"],
        embedding,
        read_texts(place, "phrase"),
    )


def segments_of(
    folder: Path, find_rows: FindRows, kinds: Collection[str]
) -> Iterator[tuple[tuple[int, int], list[int], list[dict]]]:
    """Yield segments with texts of some kinds, a few with the same picture size at a time.

    Args:
        folder: folder of shards of segments.
        find_rows: see FindRows.
        kinds: kinds of texts.

    Yields:
        (height, width), rows of the index, and rows of SEGMENTS whose `texts` are a list of texts.
    """
    columns = ["uid", "height", "width", "rle", "texts"]
    for path in list_files(folder, ".parquet"):
        for part in read_batches(path, columns, ROWS, schema=SEGMENTS):
            rows = find_rows(part["uid"].to_pylist())
            known = zip(rows[rows >= 0].tolist(), part.filter(rows >= 0).to_pylist(), strict=True)
            named = (
                (
                    row,
                    {
                        **segment,
                        "texts": [t["text"] for t in segment["texts"] if t["kind"] in kinds],
                    },
                )
                for row, segment in known
            )
            labelled = ((row, segment) for row, segment in named if segment["texts"])
            for shape, group in itertools.groupby(
                labelled, key=lambda pair: (pair[1]["height"], pair[1]["width"])
            ):
                while some := list(itertools.islice(group, MASKS)):
                    yield shape, [row for row, _ in some], [segment for _, segment in some]


def write_embeddings(
    texts: Sequence[str],
    encode: Callable[[Sequence[str]], np.ndarray],
    templates: Sequence[str],
    path: Path,
) -> None:
    """Embed U texts in each of T templates and write them: [U, T, D] float16."""
    file = None
    for at in range(0, len(texts), TEXTS):
        vectors = encode(
            [template.format(text) for text in texts[at : at + TEXTS] for template in templates]
        )
        file = file or GrowingArray(path, np.float16, (len(templates), vectors.shape[1]))
        file.append(vectors.reshape(-1, *file.item))
    assert file is not None
    file.close()
