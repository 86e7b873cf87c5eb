"""Boxes from an image-text encoder: around cells whose dense features are relevant to a phrase.

Cosines of different phrases are not comparable, because some phrases are similar to everything. So
the cosines of a phrase are standardised by their mean and deviation over cells of the whole corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from captionseg.grids import indicators, interpolation, region_weights
from captionseg.grounding.grounder import Boxes, Query
from captionseg.typed import Count, Finite, Share, Template


class JointSpace(Protocol):
    """The part of `captionseg.encoders.text_space.TextSpace` that `Relevance` needs."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed T texts: [T, D] float32, L2-normalised."""
        ...

    def project_dense(self, dense: np.ndarray) -> np.ndarray:
        """Map dense features [.., F] to [.., D] float32, L2-normalised."""
        ...


@dataclass(frozen=True)
class Relevance:
    """Parameters of `RelevanceGrounder`.

    Attributes:
        threshold: minimum relevance of a cell, in standard deviations above the phrase's mean.
        fraction: minimum relevance of a cell, as a share of the phrase's peak in the picture.
        regions: whether relevance is averaged over class-agnostic regions, if there are any.
        zoom: factor by which cells are interpolated otherwise.
        components: maximum number of boxes per phrase, the most relevant.
        rival: minimum relevance of further boxes, as a share of the first one's.
        template: template for phrases.
        reads_dense: whether the grounder reads dense features.
        makes_masks: whether it makes masks itself, so that no segmenter is needed.
    """

    threshold: Finite = 0.5
    fraction: Share = 0.65
    regions: bool = True
    zoom: Count = 4
    components: Count = 2
    rival: Share = 0.5
    template: Template = "{}"
    reads_dense: ClassVar[bool] = True
    makes_masks: ClassVar[bool] = False

    def build(self, space: JointSpace, cells: np.ndarray) -> RelevanceGrounder:
        """Build the grounder of a corpus.

        Args:
            space: image-text space of the corpus.
            cells: [n, F] sample of dense features of the corpus.
        """
        return RelevanceGrounder(space, cells, self)


class RelevanceGrounder:
    """Finds boxes around relevant cells. See Grounder, and the module's docstring.

    Args:
        space: image-text space.
        cells: [n, F] dense features for the standardisation of phrases.
        params: its parameters.
    """

    def __init__(self, space: JointSpace, cells: np.ndarray, params: Relevance) -> None:
        self.space, self.params = space, params
        self.cells = space.project_dense(cells)
        self.known: dict[str, int] = {}
        self.embedding = np.zeros((0, self.cells.shape[1]), np.float32)
        self.mean = self.deviation = np.zeros(0, np.float32)

    def prepare(self, phrases: Sequence[str]) -> None:
        """See Grounder. Forgets earlier phrases, so that shards do not depend on each other."""
        if not phrases:
            return
        unique = sorted(set(phrases))
        self.embedding = self.space.encode(
            [self.params.template.format(phrase) for phrase in unique]
        )
        typical = self.cells @ self.embedding.T
        self.known = {phrase: i for i, phrase in enumerate(unique)}
        self.mean, self.deviation = typical.mean(axis=0), np.maximum(typical.std(axis=0), 1e-6)

    def relevance(self, dense: np.ndarray, phrases: Sequence[str]) -> np.ndarray:
        """Return maps of standardised relevance, [P, gh, gw] float32.

        Args:
            dense: [gh, gw, F] dense features.
            phrases: P phrases.
        """
        if not self.known.keys() >= set(phrases):
            self.prepare(phrases)
        rows = np.array([self.known[phrase] for phrase in phrases], np.intp)
        cosine = self.space.project_dense(dense) @ self.embedding[rows].T
        return np.moveaxis((cosine - self.mean[rows]) / self.deviation[rows], -1, 0)

    def boxes(
        self,
        image: np.ndarray,
        phrases: Sequence[str],
        *,
        dense: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        query: Query | None = None,
    ) -> Boxes:
        """See Grounder. The score is the logistic of the peak above the threshold.

        The query is not used. With regions, each pixel has the mean relevance of its region, so
        that boxes end at borders of objects.

        Raises:
            ValueError: without dense features.
        """
        if dense is None:
            raise ValueError("grounding by relevance needs the dense features of the index stage")
        if not phrases:
            return Boxes(
                np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32)
            )
        cells = self.relevance(dense, phrases)
        regions = labels if self.params.regions else None
        maps = (
            upsample(cells, self.params.zoom) if regions is None else region_means(cells, regions)
        )
        peak = maps.max(axis=(1, 2))
        cut = np.maximum(self.params.threshold, self.params.fraction * peak)
        boxes, phrase = components(maps, cut, most=self.params.components, rival=self.params.rival)
        scale = np.array([image.shape[1] / maps.shape[2], image.shape[0] / maps.shape[1]] * 2)
        score = 1.0 / (1.0 + np.exp(self.params.threshold - peak[phrase]))
        return Boxes((boxes * scale).astype(np.float32), phrase, score.astype(np.float32))


def upsample(maps: np.ndarray, zoom: int) -> np.ndarray:
    """Upsample maps [P, h, w] to [P, h * zoom, w * zoom], bilinearly between centres of cells."""
    height, width = maps.shape[1:]
    return interpolation(height * zoom, height) @ maps @ interpolation(width * zoom, width).T


def region_means(maps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average maps over regions: [P, h, w] -> [P, H, W].

    Args:
        maps: [P, h, w] maps on a grid.
        labels: [H, W] ids of regions from 0.
    """
    weights = region_weights(
        indicators(labels, int(labels.max()) + 1), (maps.shape[1], maps.shape[2])
    )
    return (maps.reshape(len(maps), -1) @ weights.T)[:, labels]


def components(
    maps: np.ndarray, cut: np.ndarray, *, most: int, rival: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find boxes around connected components of cells above a threshold, for all maps at once.

    Args:
        maps: [P, h, w] maps of relevance.
        cut: [P] thresholds.
        most: maximum number of boxes per map.
        rival: minimum relevance above the threshold of further components, as a share of the
            largest one's.

    Returns:
        [n, 4] x0 y0 x1 y1 in cells, without ends; and int32 [n] numbers of their maps. They are
        sorted by map, the most relevant first.
    """
    from scipy.ndimage import find_objects, label

    plane = np.zeros((3, 3, 3), bool)
    plane[1] = True  # 8-connected within a map, not connected across maps
    above = maps - cut[:, None, None]
    numbered: Any = label(above >= 0, structure=plane)
    labels, count = numbered
    if not count:
        return np.zeros((0, 4)), np.zeros(0, np.int32)
    mass = np.bincount(
        labels.ravel(), weights=np.maximum(above, 1e-6).ravel(), minlength=count + 1
    )[1:]
    where = [(z.start, x.start, y.start, x.stop, y.stop) for z, y, x in find_objects(labels)]
    phrase, boxes = (
        np.array([w[0] for w in where], np.int32),
        np.array([w[1:] for w in where], float),
    )
    order = np.lexsort((-mass, phrase))
    phrase, boxes, mass = phrase[order], boxes[order], mass[order]
    first = np.searchsorted(phrase, phrase)  # of each one's map, the most relevant component
    keep = (np.arange(count) - first < most) & (mass >= rival * mass[first])
    return boxes[keep], phrase[keep]
