"""Bars."""

from __future__ import annotations

import numpy as np
import pytest

from captionseg.reporting.data_page.bars import list_bars, make_bars


@pytest.mark.parametrize("values", [[3], [1, 1, 2], [0, 500], list(range(100)), [5] * 99 + [4000]])
def test_every_value_is_in_a_bar(values):
    bars = list_bars(np.array(values))
    assert sum(bar["count"] for bar in bars) == len(values)
    assert 1 <= len(bars) <= 16
    assert max(bar["size"] for bar in bars) == 100
    assert all(0 <= bar["size"] <= 100 for bar in bars)


def test_no_bar_of_nothing():
    assert make_bars(["a"], [0]) == [{"name": "a", "count": 0, "size": 0.0}]
