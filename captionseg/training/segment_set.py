"""Segments with texts for training: masks on the grid of the features, with a sampled text each."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from captionseg.grids import Window, shares
from captionseg.model_inputs import NamedSegments
from captionseg.records import SEGMENTS, UserError
from captionseg.segment_text.phrases import normalise_text
from captionseg.segment_text.rle import decode
from captionseg.storage.folders import list_files
from captionseg.storage.reading import read_batches

ROWS, MASKS, TEXTS = 1024, 32, 1024
"""Number of rows that are read, of masks that are decoded, and of texts that are
embedded at once.
"""


@dataclass(frozen=True)
class EncodedMasks:
    """Masks of n segments as run lengths, for models that train on crops of pictures.

    Attributes:
        grid: height and width of the grid to which masks are reduced.
        data: bytes of all run lengths; a temporary file, see SegmentSet.
        end: [n] int64 end of each segment's bytes.
        size: [n, 2] int32 height and width of each segment's picture.
    """

    grid: tuple[int, int]
    data: np.ndarray
    end: np.ndarray
    size: np.ndarray

    def shares(self, numbers: np.ndarray, window: Window | None = None) -> np.ndarray:
        """Return the share of each cell that lies in segments of one picture, [k, gh, gw] float32.

        Args:
            numbers: [k] numbers of segments.
            window: window of the picture in the crop; None if it is not cropped.
        """
        parts = [np.zeros((0, *self.grid), np.float32)]
        for some in np.split(numbers, range(MASKS, len(numbers), MASKS)) if len(numbers) else ():
            rles = [
                bytes(self.data[self.end[i - 1] if i else 0 : self.end[i]]).decode("ascii")
                for i in some
            ]
            parts.append(shares(decode(rles, *self.size[some[0]].tolist()), self.grid, window))
        return np.concatenate(parts)


@dataclass(frozen=True)
class SegmentSet:
    """n segments of training pairs, with U different texts in T templates.

    Attributes:
        start: [index rows + 1]; the segments of row i of the index are
            `order[start[i]:start[i + 1]]`.
        order: [n] numbers of segments.
        masks: [n, gh, gw] float16 share of each cell of the features' grid that lies in a segment,
            memory-mapped from a temporary file; or their run lengths, if pictures are cropped.
        texts: [n, K] int32 numbers of the texts that name a segment, -1 pads.
        embedding: [U, T, D] float16 embeddings of the texts in each template.
        phrases: [U] the texts, normalised.
    """

    start: np.ndarray
    order: np.ndarray
    masks: np.ndarray | EncodedMasks
    texts: np.ndarray
    embedding: np.ndarray
    phrases: Sequence[str] = ()

    def of_rows(
        self,
        rows: Sequence[int] | np.ndarray,
        *,
        seed: int,
        epoch: int,
        most: int,
        among: Sequence[int] | np.ndarray | None = None,
        windows: Sequence[Window] | None = None,
    ) -> NamedSegments:
        """Draw the segments of a batch.

        Segments of rows with more than `most`, and one text per segment, depend on (seed, epoch,
        row). The template of a text depends on (seed, epoch), so that equal texts have equal
        embeddings.

        Args:
            rows: [B] rows of the index.
            seed: seed of the fit.
            epoch: number of the epoch.
            most: maximum number of segments per picture.
            among: rows of the whole batch on all ranks, which determine its width; None for one
                rank.
            windows: [B] windows of the pictures in their crops; None without crops.
        """
        drawn = [
            self.draw(int(row), np.random.default_rng([seed, epoch, int(row), 5]), most)
            for row in rows
        ]
        batch_index = np.asarray(rows if among is None else among)
        wide = max(1, min(most, int((self.start[batch_index + 1] - self.start[batch_index]).max())))
        which = np.random.default_rng([seed, epoch, 6]).integers(
            self.embedding.shape[1], size=len(self.embedding)
        )
        grid = self.masks.grid if isinstance(self.masks, EncodedMasks) else self.masks.shape[1:]
        masks = np.zeros((len(rows), wide, *grid), np.float32)
        number = np.full((len(rows), wide), -1, np.int64)
        known = np.full((len(rows), wide, self.texts.shape[1]), -1, np.int64)
        for i, (numbers, text) in enumerate(drawn):
            here = np.s_[i, : len(numbers)]
            number[here], known[here] = text, self.texts[numbers]
            masks[here] = (
                self.masks.shares(numbers, windows[i] if windows else None)
                if isinstance(self.masks, EncodedMasks)
                else self.masks[numbers]
            )
        vectors = self.embedding[np.maximum(number, 0), which[np.maximum(number, 0)]].astype(
            np.float32
        )
        return NamedSegments(*map(torch.from_numpy, (masks, vectors, number, known)))

    def draw(self, row: int, rng: np.random.Generator, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw at most `most` segments of a row: their numbers, and the number of a
        text for each.
        """
        numbers = self.order[self.start[row] : self.start[row + 1]]
        if len(numbers) > most:
            numbers = numbers[np.sort(rng.permutation(len(numbers))[:most])]
        column = rng.integers((self.texts[numbers] >= 0).sum(1))
        return numbers, self.texts[numbers, column]


@dataclass
class MaskStore:
    """Converts masks to bytes for a temporary file, and opens the file.

    Attributes:
        grid: height and width of the grid to which masks are reduced.
        coded: whether run lengths are stored.
        ends: see EncodedMasks.
        sizes: see EncodedMasks.
    """

    grid: tuple[int, int]
    coded: bool
    ends: list[int] = field(default_factory=lambda: [0])
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def bytes_of(self, rles: Sequence[str], shape: tuple[int, int]) -> bytes:
        """Return the bytes of masks of pictures of one size (height, width)."""
        if not self.coded:
            return shares(decode(rles, *shape), self.grid).astype(np.float16).tobytes()
        for rle in rles:
            self.ends.append(self.ends[-1] + len(rle))
            self.sizes.append(shape)
        return "".join(rles).encode("ascii")

    def open_masks(self, file: object, count: int) -> np.ndarray | EncodedMasks:
        """Open the masks of a file with the bytes of `count` masks."""
        if not self.coded:
            shape = (count, *self.grid)
            return np.memmap(file, np.float16, "r", shape=shape)  # type: ignore[call-overload]
        data = np.memmap(file, np.uint8, "r")  # type: ignore[call-overload]
        return EncodedMasks(
            self.grid, data, np.array(self.ends[1:]), np.array(self.sizes, np.int32)
        )


def read(
    folder: Path,
    rows: Mapping[str, int],
    size: int,
    *,
    grid: tuple[int, int],
    encode: Callable[[Sequence[str]], np.ndarray],
    kinds: Collection[str],
    templates: Sequence[str],
    coded: bool = False,
) -> SegmentSet:
    """Read the segments of training pairs, shard by shard; masks are written to a temporary file.

    Args:
        folder: folder of the segment_text stage.
        rows: uid -> row of the index, of the training pairs.
        size: number of rows of the index.
        grid: height and width of the features' grid.
        encode: texts -> [n, D] embeddings.
        kinds: kinds of texts to use; segments without such a text are left out.
        templates: templates of the texts.
        coded: whether masks are stored as run lengths, for pictures that are cropped.

    Raises:
        UserError: if none of the pairs has a segment.
    """
    owner: list[int] = []
    texts: list[list[int]] = []
    number: dict[str, int] = {}
    store = MaskStore(grid, coded)
    with tempfile.TemporaryFile() as file:
        for shape, some in segments_of(folder, rows, kinds):
            file.write(store.bytes_of([segment["rle"] for segment in some], shape))
            for segment in some:
                unique = dict.fromkeys(normalise_text(text) for text in segment["texts"])
                owner.append(rows[segment["uid"]])
                texts.append([number.setdefault(text, len(number)) for text in unique])
        if not owner:
            raise UserError(
                f"{folder}: no segments for any training row; check segment_text.split, "
                "segment_text.curation and the kinds of texts that the model learns from"
            )
        file.flush()
        masks = store.open_masks(file, len(owner))
    order = np.argsort(owner, kind="stable")
    start = np.searchsorted(np.array(owner)[order], np.arange(size + 1))
    phrases = list(number)
    return SegmentSet(
        start,
        order,
        masks,
        pad_lists(texts),
        embed_in_templates(phrases, encode, templates),
        phrases,
    )


def segments_of(
    folder: Path, rows: Mapping[str, int], kinds: Collection[str]
) -> Iterator[tuple[tuple[int, int], list[dict]]]:
    """Yield segments with texts of some kinds, a few with the same picture size at a time.

    Args:
        folder: folder of shards of segments.
        rows: uid -> row of the index, of the pairs to read.
        kinds: kinds of texts.

    Yields:
        (height, width), and rows of SEGMENTS whose `texts` are a list of texts.
    """
    for path in list_files(folder, ".parquet"):
        for part in read_batches(
            path, ["uid", "height", "width", "rle", "texts"], ROWS, schema=SEGMENTS
        ):
            rows_of_pairs = (row for row in part.to_pylist() if row["uid"] in rows)
            named = (
                {**row, "texts": [t["text"] for t in row["texts"] if t["kind"] in kinds]}
                for row in rows_of_pairs
            )
            labelled = (row for row in named if row["texts"])
            for shape, group in itertools.groupby(
                labelled, key=lambda row: (row["height"], row["width"])
            ):
                while some := list(itertools.islice(group, MASKS)):
                    yield shape, some


def pad_lists(lists: Sequence[Sequence[int]]) -> np.ndarray:
    """Pad n lists with -1 to an array [n, K] int32."""
    out = np.full((len(lists), max(map(len, lists))), -1, np.int32)
    for row, values in zip(out, lists, strict=True):
        row[: len(values)] = values
    return out


def embed_in_templates(
    texts: Sequence[str], encode: Callable[[Sequence[str]], np.ndarray], templates: Sequence[str]
) -> np.ndarray:
    """Embed U texts in each of T templates: [U, T, D] float16."""
    parts = []
    for at in range(0, len(texts), TEXTS):
        vectors = encode(
            [template.format(text) for text in texts[at : at + TEXTS] for template in templates]
        )
        parts.append(vectors.reshape(-1, len(templates), vectors.shape[1]).astype(np.float16))
    return np.concatenate(parts)
