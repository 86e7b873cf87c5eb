"""64-bit codes that differ in few bits, found without comparing each with each.

Codes that differ in at most d bits agree in at least k of any d + k parts of their bits. So for
each choice of k parts codes are sorted by those parts, and only codes that agree there are compared
(Manku, Jain and Das Sarma, "Detecting Near-Duplicates for Web Crawling", 2007; with k = 1 it is
Norouzi, Punjani and Fleet's multi-index hashing). Time is about linear in the codes as long as
2^(64 k / (d + k)) is above their number; k is chosen for it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from captionseg.marking.leaders import find_leaders

BITS, MOST = 64, 10
SORTED = 4.0  # comparisons that cost as much as one code to be sorted and looked up


@dataclass(frozen=True)
class Codes:
    """Metric of codes.

    Attributes:
        code: [n] uint64.
        distance: bits that near codes may differ in.
    """

    code: np.ndarray
    distance: int

    def near(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """See Metric."""
        differing = self.code[first][:, None] ^ self.code[second][None]
        return np.bitwise_count(differing) <= self.distance

    def find_first(self, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """See Metric."""
        codes, questions = self.code[known], self.code[asked]
        best = np.full(len(asked), len(known), np.int64)
        for mask in list_masks(self.distance, choose_parts(len(known), len(asked), self.distance)):
            self._compare(codes, questions, mask, best)
        return np.where(best < len(known), best, -1)

    def _compare(
        self, codes: np.ndarray, questions: np.ndarray, mask: np.uint64, best: np.ndarray
    ) -> None:
        """Lower `best` to the first code that agrees with a question in the bits of a mask and is
        near."""
        by_key, asked = np.argsort(codes & mask), np.argsort(questions & mask)
        code, question = codes[by_key], questions[asked]
        keys, wanted = code & mask, question & mask
        start, end = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
        while len(start):
            more = start < end
            start, end, question, asked = start[more], end[more], question[more], asked[more]
            hit = np.flatnonzero(np.bitwise_count(code[start] ^ question) <= self.distance)
            best[asked[hit]] = np.minimum(best[asked[hit]], by_key[start[hit]])
            start = start + 1


def choose_parts(known: int, asked: int, distance: int) -> int:
    """k, in how many of distance + k parts codes are to agree so that the search is cheapest."""

    def cost(parts: int) -> float:
        alike = known * 2.0 ** (-BITS * parts / (distance + parts))
        return math.comb(distance + parts, parts) * (SORTED * (known + asked) + asked * alike)

    return min(range(1, 6), key=cost)


def list_masks(distance: int, parts: int) -> list[np.uint64]:
    """The bits of every choice of so many of distance + parts parts."""
    edges = np.linspace(0, BITS, distance + parts + 1).round().astype(int).tolist()
    bits = [(1 << end) - (1 << start) for start, end in itertools.pairwise(edges)]
    return [np.uint64(sum(chosen)) for chosen in itertools.combinations(bits, parts)]


def find_near_codes(code: np.ndarray, distance: int, *, forced: int = 0) -> np.ndarray:
    """The leaders of codes, see `find_leaders`; a leader of the same code comes before all others.

    Args:
        code: [n] uint64, best first; equal ones are common, and cost nothing.
        distance: bits that near codes may differ in, 0 to MOST.
        forced: the first so many are leaders, or follow an equal one of them.

    Returns:
        [n] int64.
    """
    unique, first, which = np.unique(code, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    leader = find_leaders(
        len(unique), Codes(unique[order], distance), forced=int((first < forced).sum())
    )
    return first[order][leader[rank[which]]]
