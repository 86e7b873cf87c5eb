"""Segments with texts -> what a step trains on: masks on the grid of the features, a text drawn for each."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from captionseg.grids import shares
from captionseg.records import UserError
from captionseg.segment_text.phrases import normalised
from captionseg.segment_text.rle import decode

ROWS, MASKS, TEXTS = 1024, 32, 1024
"""How many are read, decoded and embedded at a time."""


@dataclass(frozen=True)
class SegmentSet:
    """n segments of training pairs, in row order; at most K texts each, U different texts in T prompts.

    Attributes:
        start: [index rows + 1]; those of row i of the index are `order[start[i]:start[i + 1]]`.
        order: [n] numbers of segments.
        masks: [n, gh, gw] float16, how much of each cell of the features' grid lies in a segment; a temporary file that
            is gone with the process, of which a batch reads its own.
        texts: [n, K] int32 which texts name a segment, -1 pads.
        embedding: [U, T, D] float16 of the prompted texts.
        said: [U] the texts, normalised.
    """

    start: np.ndarray
    order: np.ndarray
    masks: np.ndarray
    texts: np.ndarray
    embedding: np.ndarray
    said: Sequence[str] = ()

    def of_rows(self, rows: Sequence[int] | np.ndarray, *, seed: int, epoch: int, most: int,
                padded: bool = False) -> dict[str, Tensor]:  # fmt: skip
        """The fields of a Batch that are segments, of rows of the index.

        Which segments where a row has more than `most`, and one text of each, are drawn from (seed, epoch, row); the
        prompt of a text from (seed, epoch), so that equal texts of a batch have equal embeddings.

        Args:
            rows: [B].
            seed: see above.
            epoch: likewise.
            most: segments of a picture.
            padded: as wide as any batch may be, for ranks that have to agree about it.
        """
        drawn = [self.draw(int(row), np.random.default_rng([seed, epoch, int(row), 5]), most) for row in rows]
        widest = min(most, int(np.diff(self.start).max())) if padded else max(len(mine) for mine, _ in drawn)
        wide = max(1, widest)
        which = np.random.default_rng([seed, epoch, 6]).integers(self.embedding.shape[1], size=len(self.embedding))
        masks = np.zeros((len(rows), wide, *self.masks.shape[1:]), np.float32)
        number = np.full((len(rows), wide), -1, np.int64)
        known = np.full((len(rows), wide, self.texts.shape[1]), -1, np.int64)
        for i, (mine, text) in enumerate(drawn):
            here = np.s_[i, : len(mine)]
            masks[here], number[here], known[here] = self.masks[mine], text, self.texts[mine]
        said = self.embedding[np.maximum(number, 0), which[np.maximum(number, 0)]].astype(np.float32)
        arrays = {"masks": masks, "embedding": said, "text": number, "texts": known}
        return {f"segment_{name}": torch.from_numpy(array) for name, array in arrays.items()}

    def draw(self, row: int, rng: np.random.Generator, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of at most `most` segments of a row, and the text drawn for each."""
        mine = self.order[self.start[row] : self.start[row + 1]]
        if len(mine) > most:
            mine = mine[np.sort(rng.permutation(len(mine))[:most])]
        column = rng.integers((self.texts[mine] >= 0).sum(1))
        return mine, self.texts[mine, column]


def read(folder: Path, rows: Mapping[str, int], size: int, *, grid: tuple[int, int],
         encode: Callable[[Sequence[str]], np.ndarray], kinds: Collection[str],
         templates: Sequence[str]) -> SegmentSet:  # fmt: skip
    """The segments of some pairs, read shard by shard; masks go to a file, a few at a time.

    Args:
        folder: of the segment_text stage.
        rows: uid -> row of the index, of the pairs that are trained on.
        size: rows of the index.
        grid: of the features, height and width.
        encode: texts -> [n, D] embeddings.
        kinds: of texts that count; a segment that has no others is left out.
        templates: that texts are put into.

    Raises:
        UserError: if none of the pairs has a segment.
    """
    owner: list[int] = []
    texts: list[list[int]] = []
    number: dict[str, int] = {}
    with tempfile.TemporaryFile() as file:
        for segment in segments_of(folder, rows, grid, kinds, file):
            found = dict.fromkeys(normalised(text) for text in segment["texts"])
            owner.append(rows[segment["uid"]])
            texts.append([number.setdefault(text, len(number)) for text in found])
        if not owner:
            raise UserError(f"{folder}: no segment of any row that is trained on; check segment_text.split, "
                            "segment_text.curation and the kinds of texts that the model learns from")
        file.flush()
        masks = np.memmap(file, np.float16, "r", shape=(len(owner), *grid))
    order = np.argsort(owner, kind="stable")
    start = np.searchsorted(np.array(owner)[order], np.arange(size + 1))
    said = list(number)
    return SegmentSet(start, order, masks, padded(texts), embedded(said, encode, templates), said)


def segments_of(folder: Path, rows: Mapping[str, int], grid: tuple[int, int], kinds: Collection[str],
                file: IO[bytes]) -> Iterator[dict]:  # fmt: skip
    """uid and texts of each segment of some pairs, its mask written to a file before it comes; see `read`."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise UserError(f"no parquet files in {folder}: run the stage that writes it first (`dvc repro`)")
    for path in files:
        for part in pq.ParquetFile(path).iter_batches(ROWS, columns=["uid", "height", "width", "rle", "texts"]):
            mine = (row for row in part.to_pylist() if row["uid"] in rows)
            named = ({**row, "texts": [t["text"] for t in row["texts"] if t["kind"] in kinds]} for row in mine)
            wanted = (row for row in named if row["texts"])
            for shape, group in itertools.groupby(wanted, key=lambda row: (row["height"], row["width"])):
                while some := list(itertools.islice(group, MASKS)):
                    inside = decode([row["rle"] for row in some], *shape)
                    file.write(shares(inside, grid).astype(np.float16).tobytes())
                    yield from some


def padded(lists: Sequence[Sequence[int]]) -> np.ndarray:
    """[n, K] int32 of n lists, -1 pads."""
    out = np.full((len(lists), max(map(len, lists))), -1, np.int32)
    for row, values in zip(out, lists, strict=True):
        row[: len(values)] = values
    return out


def embedded(texts: Sequence[str], encode: Callable[[Sequence[str]], np.ndarray],
             templates: Sequence[str]) -> np.ndarray:  # fmt: skip
    """[U, T, D] float16 embeddings of texts in each template."""
    parts = []
    for at in range(0, len(texts), TEXTS):
        found = encode([template.format(text) for text in texts[at : at + TEXTS] for template in templates])
        parts.append(found.reshape(-1, len(templates), found.shape[1]).astype(np.float16))
    return np.concatenate(parts)
