"""Numbers as bars and in a few words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captionseg.reporting.rendering import DASH, View


def make_bars(names: Sequence[str], counts: Sequence[int]) -> list[View]:
    """Names and counts, each with its `size`: its length in % of the longest."""
    longest = max(counts, default=1) or 1
    return [
        {"name": name, "count": count, "size": round(100 * count / longest, 2)}
        for name, count in zip(names, counts, strict=True)
    ]


def list_bars(values: np.ndarray, most: int = 16) -> list[View]:
    """A histogram of whole numbers in at most so many classes of one width; the last is open.

    Each has its name, count and `size`, its length in % of the longest.
    """
    low = int(values.min())
    high = max(int(np.percentile(values, 98, method="higher")), low + 1)
    widths = (1, 2, 5, 10, 20, 50, 100, 1000, 10**9)
    width = next(w for w in widths if high // w - low // w < most)
    start = low // width * width
    number = np.minimum((values - start) // width, (high - start) // width)
    counts = np.bincount(number).tolist()
    names = [
        f"{start + i * width}"
        if width == 1
        else f"{start + i * width}{DASH}{start + (i + 1) * width - 1}"
        for i in range(len(counts))
    ]
    if int(values.max()) >= start + len(counts) * width:
        names[-1] = f"{start + (len(counts) - 1) * width} or more"
    return make_bars(names, counts)


def summarize_numbers(values: np.ndarray) -> View:
    """Least, median, mean and most."""
    low, middle, high = (int(x) for x in np.percentile(values, (0, 50, 100), method="lower"))
    return {"low": low, "median": middle, "mean": float(values.mean()), "high": high}
