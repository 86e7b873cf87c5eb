"""Segments with texts for training: masks on the grid of the features, with a sampled text each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from captionseg.arrays import RaggedArray
from captionseg.grids import Window, shares
from captionseg.model_inputs import NamedSegments
from captionseg.segment_text.rle import decode

MASKS = 32  # that are decoded at once


@dataclass(frozen=True)
class EncodedMasks:
    """Masks of n segments as run lengths, for models that train on crops of pictures.

    Attributes:
        grid: height and width of the grid to which masks are reduced.
        rles: [n] run lengths, as COCO writes them.
        size: [n, 2] int32 height and width of each segment's picture.
    """

    grid: tuple[int, int]
    rles: Sequence[str]
    size: np.ndarray

    def shares(self, numbers: np.ndarray, window: Window | None = None) -> np.ndarray:
        """Return the share of each cell that lies in segments of one picture, [k, gh, gw] float32.

        Args:
            numbers: [k] numbers of segments.
            window: window of the picture in the crop; None if it is not cropped.
        """
        parts = [np.zeros((0, *self.grid), np.float32)]
        for some in np.split(numbers, range(MASKS, len(numbers), MASKS)) if len(numbers) else ():
            rles = [self.rles[int(i)] for i in some]
            parts.append(shares(decode(rles, *self.size[some[0]].tolist()), self.grid, window))
        return np.concatenate(parts)


@dataclass(frozen=True)
class SegmentSet:
    """n segments of training pairs, with U different texts in T templates; all memory-mapped.

    Attributes:
        start: [index rows + 1]; the segments of row i of the index are
            `order[start[i]:start[i + 1]]`.
        order: [n] numbers of segments.
        masks: [n, gh, gw] float16 share of each cell of the features' grid that lies in a segment;
            or their run lengths, if pictures are cropped.
        texts: [n, K] int32 numbers of the texts that name a segment, -1 pads.
        embedding: [U, T, D] float16 embeddings of the texts in each template.
        phrases: [U] the texts, normalised.
    """

    start: np.ndarray
    order: np.ndarray
    masks: np.ndarray | EncodedMasks
    texts: np.ndarray | RaggedArray
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
        texts = self.texts[numbers]
        column = rng.integers((texts >= 0).sum(1))
        return numbers, texts[np.arange(len(texts)), column]
