"""Balance of concepts in the spirit of MetaCLIP (Xu et al., "Demystifying CLIP Data", 2023; §3.3
and §3.4): what everybody photographs is thinned out, what is rare stays whole.

Every concept that a caption names lets its pair pass with probability min(1, t / count), where
count is how many captions name it; a pair that none of its concepts lets pass is marked. Written
from the paper's description.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from captionseg.marking.marker import MarkedRows, Rows
from captionseg.typed import Count


@dataclass(frozen=True)
class Balance:
    """A pair that names no concept is left to the rules of curation (MetaCLIP drops it).

    Draws depend on the seed, the pair's uid and the concept alone: the order of rows, and which
    other pairs there are, change only the counts.

    Attributes:
        t: captions of a concept from which on it is thinned out; None takes it from `tail`.
        tail: share of all matches that concepts of fewer than t captions hold together: the largest
            such t is taken. MetaCLIP's 20,000 of 400 million pairs leave 6 % to the tail.
    """

    t: Count | None = None
    tail: Annotated[float, Interval(gt=0, lt=1)] = 0.06

    kinds: ClassVar[tuple[str, ...]] = ("balance",)
    reads: ClassVar[str] = "concepts"

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker."""
        assert rows.named is not None, "balance comes after the vocabulary"
        matches = rows.named.tocoo()
        is_kept = kept[matches.row]
        row, concept = matches.row[is_kept], matches.col[is_kept]
        count = np.bincount(concept, minlength=len(rows.vocabulary))
        limit = choose_limit(count, self.tail) if self.t is None else self.t
        passes = np.minimum(1.0, limit / np.maximum(count, 1))
        drawn = draw_uniform(hash_texts(rows.uid)[row], hash_texts(rows.vocabulary)[concept], seed)
        kept_by_draw = np.bincount(row[drawn < passes[concept]], minlength=len(rows)) > 0
        is_dropped = np.bincount(row, minlength=len(rows)).astype(bool) & ~kept_by_draw
        # the rarest concept of each, of equal ones the first
        order = np.lexsort((concept, count[concept], row))
        order = order[np.unique(row[order], return_index=True)[1]]
        order = order[is_dropped[row[order]]]
        reasons = [
            f"balance: names nothing rarer than {rows.vocabulary[c]} ({count[c]} captions)"
            for c in concept[order]
        ]
        return MarkedRows.without_twins(row[order].astype(np.int64), "balance", reasons)


def choose_limit(count: np.ndarray, tail: float) -> int:
    """The largest t of which concepts with fewer than t matches hold no more than a share of all.

    Args:
        count: [C] matches of each concept.
        tail: the share.
    """
    values, times = np.unique(count[count > 0], return_counts=True)
    if not len(values):
        return 1
    below = np.concatenate([[0], np.cumsum(values * times)[:-1]])  # of concepts with fewer
    return int(values[below <= tail * (values * times).sum()][-1])


def hash_texts(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """[n] uint64: 64 bits of each text, the same everywhere."""
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def draw_uniform(first: np.ndarray, second: np.ndarray, seed: int) -> np.ndarray:
    """[n] float64 in [0, 1) for each pair of hashes, by two rounds of splitmix64 (Steele, Lea and
    Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
    """
    mixed = _mix(first + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15))
    return (_mix(mixed ^ second) >> np.uint64(11)) / 2.0**53


def _mix(bits: np.ndarray) -> np.ndarray:
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
