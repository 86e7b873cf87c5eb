"""Are segments found by text? Expressions of held-out captions against the true masks of their
pictures (USE).

USE claims this use and gives no protocol; this is ours. The gallery holds each class of each
picture whose exact mask is known, as one segment. Queries are the different referring expressions
of the captions of those pictures, whose phrase names a class that is there: of "a dog on the grass"
it is "a dog". A phrase without more is a query itself.

Relevant to a query are the segments of the named class in the pictures of which a caption says it.
Whether a dog of another picture lies on grass as well is not known; it counts as wrong, the
stricter reading. By class, a segment of the named class in any picture is right.

Chance of finding one of R relevant among the first k of G, drawn at random: 1 - C(G - R, k) / C(G,
k), about k R / G.
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
from captionseg.benchmarks.held_out import HeldOut
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
    """What is looked for in a gallery of G segments.

    Attributes:
        texts: [Q], all different.
        relevant: [Q, G] bool.
        of_class: [Q, G] bool, which contains it.
    """

    texts: list[str]
    relevant: np.ndarray
    of_class: np.ndarray


class Retrieval:
    """What a recipe's models find, each seed by itself.

    Args:
        benchmark: pictures with exact masks.
        folders: of the stages before.
    """

    def __init__(self, benchmark: HeldOut, folders: Folders) -> None:
        self.benchmark, self.folders = benchmark, folders
        self.each: list[dict[str, float]] = []

    @cached_property
    def queries_and_gallery(self) -> tuple[Queries, np.ndarray, np.ndarray]:
        """The queries, and picture [G] and class [G] of the gallery."""
        pictures = self.benchmark.pictures
        captions = captions_of(read_pairs(self.folders.prepared.pairs), pictures.uid)
        picture, label = gallery(pictures.masks, ignore=self.benchmark.ignore)
        parsed = iter(parse_references([caption for row in captions for caption in row]))
        references = [[one for _ in row for one in next(parsed)] for row in captions]
        return queries_of(references, self.benchmark.names, picture, label), picture, label

    def seed(self, model: SegmentModel | None) -> None:
        """One seed more; None where the model embeds no segments."""
        if model is None or not self.queries_and_gallery[0].texts:
            return
        queries, picture, label = self.queries_and_gallery
        segments = embed(model, self.benchmark, self.folders, picture, label)
        self.each.append(measures(model.texts(queries.texts) @ segments.T, queries))

    def add_to(self, result: dict[str, Any]) -> None:
        """Put `retrieval` into the scores of a recipe: means over seeds of `measures`, and how many
        queries and segments there are; nothing where there is no query, or no model that embeds
        segments.
        """
        if self.each:
            means = {
                name: round(float(np.mean([one[name] for one in self.each])), 4)
                for name in self.each[0]
            }
            queries, picture, _ = self.queries_and_gallery
            counts = {"queries": float(len(queries.texts)), "gallery": float(len(picture))}
            result["scores"]["retrieval"] = means | counts


def captions_of(pairs: pa.Table, uids: Sequence[str]) -> list[list[str]]:
    """Of the picture of each uid all captions that pairs of its split have of it, its own first."""
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
    """Picture [G] and class [G] of each segment: every class of every true mask, PNG."""
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
    """The queries of captions.

    Args:
        references: of each picture, what its caption speaks of.
        names: of the classes.
        picture: [G] of each segment of the gallery.
        label: [G] its class.
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
    """[G, D] of the segments of the gallery, picture by picture."""
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
    """How well scores [Q, G] rank what is right.

    Returns:
        r1, r5, r10: % of queries with a relevant segment among the first so many; median_rank of
        the best relevant one, from 1; class_r1, class_r5, class_r10: the first three with any
        segment of the class as right.
    """
    own, alike = ranks(scores, queries.relevant), ranks(scores, queries.of_class)
    return {
        **{f"r{k}": 100.0 * float((own <= k).mean()) for k in AT},
        "median_rank": float(np.median(own)),
        **{f"class_r{k}": 100.0 * float((alike <= k).mean()) for k in AT},
    }


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[Q] int: the place of the best right segment, from 1, in an exact search over all.

    A wrong segment with an equal score stands before it: who embeds everything alike finds nothing.

    Args:
        scores: [Q, G].
        right: [Q, G] bool, at least one in each row.
    """
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    return 1 + ((scores >= best) & ~right).sum(1)
