"""Leader clustering: which items stay when no two that stay may be near each other."""

from __future__ import annotations

from typing import Protocol

import numpy as np

LEAF = 1024  # items that are compared each with each


class Metric(Protocol):
    """Says which items are near each other; items are their numbers."""

    def near(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """[a, b] bool: which of the items [a] is near which of [b]."""
        ...

    def find_first(self, leaders: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """[queries] position of the first leader that is near each query; -1 where none is."""
        ...


def find_leaders(count: int, metric: Metric, *, forced: int = 0) -> np.ndarray:
    """Go through items 0, 1, ... in order: one that is near a leader follows the first such
    leader, any other is a leader itself.

    So no two leaders are near each other, and whoever follows is near the leader that it names.
    Nearness is not passed on: of a chain in which only neighbours are near, every second stays.
    (Connected components, as of union-find, would let one item stand for another that it does not
    resemble.)

    The second half of the items is compared with the leaders of the first, and what follows none of
    them is halved again, so memory does not depend on how many items are near one another.

    Args:
        count: of items.
        metric: which are near.
        forced: the first so many are leaders, whatever is near them.

    Returns:
        [count] int64 the leader of each; itself where it is one.
    """
    leader = np.full(count, -1, np.int64)
    leader[:forced] = np.arange(forced)
    remaining = _follow(leader, np.arange(forced), np.arange(forced, count), metric)
    _settle(leader, remaining, metric)
    return leader


def _follow(
    leader: np.ndarray, leaders: np.ndarray, queries: np.ndarray, metric: Metric
) -> np.ndarray:
    """Let queries follow the first leader that is near; returns the others."""
    if not len(leaders) or not len(queries):
        return queries
    first = metric.find_first(leaders, queries)
    leader[queries[first >= 0]] = leaders[first[first >= 0]]
    return queries[first < 0]


def _settle(leader: np.ndarray, items: np.ndarray, metric: Metric) -> None:
    """Find the leaders of items that no leader so far is near."""
    if len(items) <= LEAF:
        near = metric.near(items, items)
        np.fill_diagonal(near, False)
        leader[items] = items
        free = np.ones(len(items), bool)
        for number in np.flatnonzero(near.any(1)):
            if free[number]:
                followers = np.flatnonzero(near[number, number:] & free[number:]) + number
                leader[items[followers]] = items[number]
                free[followers] = False
        return
    half = len(items) // 2
    _settle(leader, items[:half], metric)
    leaders = items[:half][leader[items[:half]] == items[:half]]
    _settle(leader, _follow(leader, leaders, items[half:], metric), metric)
