"""Retrieval of segments by text (USE): expressions of held-out captions against true masks.

USE mentions this use without a protocol; this one is ours. The gallery contains each class of each
picture with a true mask as one segment. Queries are the different referring expressions of the
captions of these pictures whose phrase names a class in the picture, such as "a dog on the grass"
for "a dog"; a phrase alone is a query, too.

Relevant are the segments of the named class in pictures whose captions contain the expression. A
dog in another picture, which may also lie on grass, counts as wrong. For scores by class, segments
of the named class in any picture are relevant.

At random, one of R relevant segments is among the first k of G with probability
1 - C(G - R, k) / C(G, k), about k R / G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.own_split import HeldOut
from captionseg.datasets.ids import number_pictures
from captionseg.datasets.pair_tables import read_pairs
from captionseg.datasets.truth_masks import decode_mask
from captionseg.inference.segment_model import SegmentModel
from captionseg.segment_text.measure import build_namer
from captionseg.segment_text.phrases import normalise_text
from captionseg.text.referring import Reference, parse_references

AT = (1, 5, 10)


@dataclass(frozen=True)
class Queries:
    """Queries to a gallery of G segments.

    Attributes:
        texts: Q different texts.
        relevant: [Q, G] bool, relevant segments.
        of_class: [Q, G] bool, segments of the named class in any picture.
    """

    texts: list[str]
    relevant: np.ndarray
    of_class: np.ndarray


class Retrieval:
    """Scores the retrieval of a recipe's models, for each seed.

    Args:
        benchmark: pictures with true masks.
        folders: folders of earlier stages.
    """

    def __init__(self, benchmark: HeldOut, folders: Folders) -> None:
        self.benchmark, self.folders = benchmark, folders
        self.each: list[dict[str, float]] = []

    @cached_property
    def queries_and_gallery(self) -> tuple[Queries, np.ndarray, np.ndarray]:
        """The queries, and the picture [G] and class [G] of each segment of the gallery."""
        pictures = self.benchmark.pictures
        captions = captions_of(read_pairs(self.folders.prepared.pairs), pictures.uid)
        picture, label = gallery(pictures.masks, ignore=self.benchmark.ignore)
        parsed = iter(parse_references([caption for row in captions for caption in row]))
        references = [[reference for _ in row for reference in next(parsed)] for row in captions]
        return queries_of(references, self.benchmark.names, picture, label), picture, label

    def seed(self, model: SegmentModel | None) -> None:
        """Add a seed; None for a model that embeds no segments."""
        if model is None or not self.queries_and_gallery[0].texts:
            return
        queries, picture, label = self.queries_and_gallery
        segments = embed(model, self.benchmark, self.folders, picture, label)
        self.each.append(measures(model.texts(queries.texts) @ segments.T, queries))

    def add_to(self, result: dict[str, Any]) -> None:
        """Add `retrieval` to the scores of a recipe, if any seed was scored: means over seeds of
        `measures`, and the numbers of queries and segments.
        """
        if self.each:
            means = {
                name: round(float(np.mean([of_seed[name] for of_seed in self.each])), 4)
                for name in self.each[0]
            }
            queries, picture, _ = self.queries_and_gallery
            counts = {"queries": float(len(queries.texts)), "gallery": float(len(picture))}
            result["scores"]["retrieval"] = means | counts


def captions_of(pairs: pa.Table, uids: Sequence[str]) -> list[list[str]]:
    """Return for each uid all captions of its picture in its split, in the order of the pairs."""
    rows, picture = (
        pairs.select(["uid", "caption", "split"]).to_pydict(),
        number_pictures(pairs).tolist(),
    )
    captions: dict[tuple[int, str], list[str]] = {}
    place = {uid: row for row, uid in enumerate(rows["uid"])}
    mine = [(picture[place[uid]], rows["split"][place[uid]]) for uid in uids]
    own_images = {*mine}
    for shown, split, caption in zip(picture, rows["split"], rows["caption"], strict=True):
        if (shown, split) in own_images:
            captions.setdefault((shown, split), []).append(caption or "")
    return [captions[key] for key in mine]


def gallery(masks: Sequence[bytes], *, ignore: int) -> tuple[np.ndarray, np.ndarray]:
    """Return picture [G] and class [G] of each segment: each class of each true mask (PNG)."""
    present = [
        np.setdiff1d(np.unique(decode_mask(mask)), [ignore]).astype(np.int64) for mask in masks
    ]
    picture = np.repeat(np.arange(len(present)), [len(classes) for classes in present])
    return picture, np.concatenate([np.zeros(0, np.int64), *present])


def queries_of(
    references: Sequence[Sequence[Reference]],
    names: Sequence[str],
    picture: np.ndarray,
    label: np.ndarray,
) -> Queries:
    """Build the queries of captions.

    Args:
        references: referring expressions of each picture's captions.
        names: names of the classes.
        picture: [G] picture of each segment of the gallery.
        label: [G] class of each segment.
    """
    says = build_namer(sorted({reference.phrase for row in references for reference in row}), names)
    place = {pair: g for g, pair in enumerate(zip(picture.tolist(), label.tolist(), strict=True))}
    relevant: dict[str, set[int]] = {}
    for number, row in enumerate(references):
        for reference in row:
            named = {place[number, c] for c in says[reference.phrase] if (number, c) in place}
            if named:
                relevant.setdefault(normalise_text(reference.expression), set()).update(named)
    shape = (len(relevant), len(picture))
    relevant_rows, alike = np.zeros(shape, bool), np.zeros(shape, bool)
    for q, segments in enumerate(relevant.values()):
        relevant_rows[q, sorted(segments)] = True
        alike[q] = np.isin(label, label[relevant_rows[q]])
    return Queries(list(relevant), relevant_rows, alike)


def embed(
    model: SegmentModel,
    benchmark: HeldOut,
    folders: Folders,
    picture: np.ndarray,
    label: np.ndarray,
) -> np.ndarray:
    """Embed the segments of the gallery, picture by picture: [G, D].

    Args:
        model: embeds segments.
        benchmark: pictures with true masks.
        folders: folders of earlier stages.
        picture: [G] picture of each segment.
        label: [G] class of each segment.
    """
    inputs, pictures, parts = model.inputs(folders.prepared), benchmark.pictures, []
    for number, mask in enumerate(tqdm(pictures.masks, desc="segments", unit="img", leave=False)):
        classes = label[picture == number]
        if len(classes):
            inside = decode_mask(mask) == classes[:, None, None]
            parts.append(
                model.segments(inputs, pictures.rows[number : number + 1], inside[None])[0]
            )
    return np.concatenate(parts)


def measures(scores: np.ndarray, queries: Queries) -> dict[str, float]:
    """Measure the ranking by scores [Q, G].

    Returns:
        r1, r5, r10: share of queries in % with a relevant segment among the first 1, 5, 10;
        median_rank: median rank, from 1, of the best relevant segment; class_r1, class_r5,
        class_r10: the same with all segments of the class as relevant.
    """
    own, alike = ranks(scores, queries.relevant), ranks(scores, queries.of_class)
    return {
        **{f"r{k}": 100.0 * float((own <= k).mean()) for k in AT},
        "median_rank": float(np.median(own)),
        **{f"class_r{k}": 100.0 * float((alike <= k).mean()) for k in AT},
    }


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the rank of the best relevant segment, [Q] int from 1.

    Irrelevant segments with an equal score rank before it, so that equal embeddings find nothing.

    Args:
        scores: [Q, G] scores.
        right: [Q, G] bool, relevant segments, at least one per query.
    """
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    return 1 + ((scores >= best) & ~right).sum(1)
