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
"""How many are read, decoded and embedded at a time."""


@dataclass(frozen=True)
class EncodedMasks:
    """Masks of n segments as run lengths, for models that see another part of a picture each time.

    Attributes:
        grid: height and width, that masks are reduced to.
        data: bytes of all run lengths; a temporary file, see SegmentSet.
        end: [n] int64 where those of a segment end in it.
        size: [n, 2] int32 height and width of its picture.
    """

    grid: tuple[int, int]
    data: np.ndarray
    end: np.ndarray
    size: np.ndarray

    def shares(self, numbers: np.ndarray, window: Window | None = None) -> np.ndarray:
        """[k, gh, gw] float32: how much of each cell lies in segments of one picture, which lies in
        a window.
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
    """n segments of training pairs, in row order; at most K texts each, U different texts in T
    prompts.

    Attributes:
        start: [index rows + 1]; those of row i of the index are `order[start[i]:start[i + 1]]`.
        order: [n] numbers of segments.
        masks: [n, gh, gw] float16, how much of each cell of the features' grid lies in a segment; a
            temporary file that is gone with the process, of which a batch reads its own. Or their
            run lengths, where pictures are cropped.
        texts: [n, K] int32 which texts name a segment, -1 pads.
        embedding: [U, T, D] float16 of the prompted texts.
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
        """The segments of a Batch, of rows of the index.

        Which segments where a row has more than `most`, and one text of each, are drawn from (seed,
        epoch, row); the prompt of a text from (seed, epoch), so that equal texts of a batch have
        equal embeddings.

        Args:
            rows: [B].
            seed: see above.
            epoch: likewise.
            most: segments of a picture.
            among: rows of all ranks, which have to agree how wide a batch is; None for one rank.
            windows: [B] where the pictures lie in what is seen of them, for coded masks; None sees
                all.
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
        """Numbers of at most `most` segments of a row, and the text drawn for each."""
        numbers = self.order[self.start[row] : self.start[row + 1]]
        if len(numbers) > most:
            numbers = numbers[np.sort(rng.permutation(len(numbers))[:most])]
        column = rng.integers((self.texts[numbers] >= 0).sum(1))
        return numbers, self.texts[numbers, column]


@dataclass
class MaskStore:
    """Masks on their way to a file, a few at a time.

    Attributes:
        grid: height and width, that they are reduced to, then or later.
        coded: whether run lengths are kept.
        ends: see EncodedMasks, likewise sizes.
        sizes: see ends.
    """

    grid: tuple[int, int]
    coded: bool
    ends: list[int] = field(default_factory=lambda: [0])
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def bytes_of(self, rles: Sequence[str], shape: tuple[int, int]) -> bytes:
        """What a file gets of masks of one picture size."""
        if not self.coded:
            return shares(decode(rles, *shape), self.grid).astype(np.float16).tobytes()
        for rle in rles:
            self.ends.append(self.ends[-1] + len(rle))
            self.sizes.append(shape)
        return "".join(rles).encode("ascii")

    def open_masks(self, file: object, count: int) -> np.ndarray | EncodedMasks:
        """The masks of a file that all were written to."""
        if not self.coded:
            return np.memmap(file, np.float16, "r", shape=(count, *self.grid))  # type: ignore[call-overload]
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
    """The segments of some pairs, read shard by shard; masks go to a file, a few at a time.

    Args:
        folder: of the segment_text stage.
        rows: uid -> row of the index, of the pairs that are trained on.
        size: rows of the index.
        grid: of the features, height and width.
        encode: texts -> [n, D] embeddings.
        kinds: of texts that count; a segment that has no others is left out.
        templates: that texts are put into.
        coded: keeps masks as run lengths, for pictures that are cropped.

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
    """Segments of some pairs that have texts of some kinds, a few of one picture size at a time:
    height and width, and rows.
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
    """[n, K] int32 of n lists, -1 pads."""
    out = np.full((len(lists), max(map(len, lists))), -1, np.int32)
    for row, values in zip(out, lists, strict=True):
        row[: len(values)] = values
    return out


def embed_in_templates(
    texts: Sequence[str], encode: Callable[[Sequence[str]], np.ndarray], templates: Sequence[str]
) -> np.ndarray:
    """[U, T, D] float16 embeddings of texts in each template."""
    parts = []
    for at in range(0, len(texts), TEXTS):
        vectors = encode(
            [template.format(text) for text in texts[at : at + TEXTS] for template in templates]
        )
        parts.append(vectors.reshape(-1, len(templates), vectors.shape[1]).astype(np.float16))
    return np.concatenate(parts)
