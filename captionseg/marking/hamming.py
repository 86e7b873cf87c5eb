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
SORTED = 4.0  # comparisons that cost as much as sorting and looking up one code


@dataclass(frozen=True)
class Codes:
    """Hamming distance of codes, see Metric.

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

    def find_first(self, leaders: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """See Metric."""
        codes, query_codes = self.code[leaders], self.code[queries]
        best = np.full(len(queries), len(leaders), np.int64)
        for mask in list_masks(
            self.distance, choose_parts(len(leaders), len(queries), self.distance)
        ):
            self._compare(codes, query_codes, mask, best)
        return np.where(best < len(leaders), best, -1)

    def _compare(
        self, codes: np.ndarray, query_codes: np.ndarray, mask: np.uint64, best: np.ndarray
    ) -> None:
        """Lower `best` to the first code that is near a query and agrees with it in the bits of a
        mask.
        """
        by_key, by_query_key = np.argsort(codes & mask), np.argsort(query_codes & mask)
        code, query = codes[by_key], query_codes[by_query_key]
        keys, query_keys = code & mask, query & mask
        start, end = (
            np.searchsorted(keys, query_keys, "left"),
            np.searchsorted(keys, query_keys, "right"),
        )
        while len(start):
            unfinished = start < end
            start, end, query, by_query_key = (
                start[unfinished],
                end[unfinished],
                query[unfinished],
                by_query_key[unfinished],
            )
            hit = np.flatnonzero(np.bitwise_count(code[start] ^ query) <= self.distance)
            best[by_query_key[hit]] = np.minimum(best[by_query_key[hit]], by_key[start[hit]])
            start = start + 1


def choose_parts(leaders: int, queries: int, distance: int) -> int:
    """k of the module docstring, for which the search is cheapest."""

    def cost(parts: int) -> float:
        candidates = leaders * 2.0 ** (-BITS * parts / (distance + parts))
        return math.comb(distance + parts, parts) * (
            SORTED * (leaders + queries) + queries * candidates
        )

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
    unique, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    leader = find_leaders(
        len(unique), Codes(unique[order], distance), forced=int((first < forced).sum())
    )
    return first[order][leader[rank[inverse]]]
