"""Which of many things stay when no two that stay may be near each other."""

from __future__ import annotations

from typing import Protocol

import numpy as np

LEAF = 1024  # things that are compared each with each


class Metric(Protocol):
    """Says which of some things are near; things are numbers."""

    def near(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """[a, b] bool of things [a] and [b]."""
        ...

    def find_first(self, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """[asked] the first of the known things, in their order, that is near; -1 where none is."""
        ...


def find_leaders(count: int, metric: Metric, *, forced: int = 0) -> np.ndarray:
    """Go through things 0, 1, ... in order: one that is near a leader follows the first such
    leader, any other is a leader itself.

    So no two leaders are near each other, and whoever follows is near the leader that it names.
    Nearness is not passed on: of a chain in which only neighbours are near, every second stays.
    (Connected groups, as union-find has them, would let one thing speak for another that it does
    not resemble.)

    The second half of the things is asked against the leaders of the first, and what is left of it
    is halved again, so that how many things are near one another costs no memory.

    Args:
        count: of things.
        metric: which are near.
        forced: the first so many are leaders, whatever is near them.

    Returns:
        [count] int64 the leader of each; itself where it is one.
    """
    leader = np.full(count, -1, np.int64)
    leader[:forced] = np.arange(forced)
    rest = _follow(leader, np.arange(forced), np.arange(forced, count), metric)
    _settle(leader, rest, metric)
    return leader


def _follow(leader: np.ndarray, known: np.ndarray, asked: np.ndarray, metric: Metric) -> np.ndarray:
    """Let those asked follow the known leaders; those that none is near."""
    if not len(known) or not len(asked):
        return asked
    first = metric.find_first(known, asked)
    leader[asked[first >= 0]] = known[first[first >= 0]]
    return asked[first < 0]


def _settle(leader: np.ndarray, things: np.ndarray, metric: Metric) -> None:
    """Find the leaders of things that no leader so far is near."""
    if len(things) <= LEAF:
        near = metric.near(things, things)
        np.fill_diagonal(near, False)
        leader[things] = things
        free = np.ones(len(things), bool)
        for number in np.flatnonzero(near.any(1)):
            if free[number]:
                after = np.flatnonzero(near[number, number:] & free[number:]) + number
                leader[things[after]] = things[number]
                free[after] = False
        return
    half = len(things) // 2
    _settle(leader, things[:half], metric)
    known = things[:half][leader[things[:half]] == things[:half]]
    _settle(leader, _follow(leader, known, things[half:], metric), metric)
