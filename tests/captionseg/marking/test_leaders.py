import numpy as np
import pytest

from captionseg.marking import leaders
from captionseg.marking.leaders import find_leaders


class Line:
    """Things on a line; near is what is no farther apart than 1."""

    def __init__(self, place):
        self.place = np.array(place, float)

    def near(self, first, second):
        return np.abs(self.place[first][:, None] - self.place[second][None]) <= 1

    def find_first(self, known, asked):
        near = self.near(asked, known)
        return np.where(near.any(1), near.argmax(1), -1)


def greedily(place, forced=0):
    """The definition, word for word."""
    kept, leader = [], []
    for number, here in enumerate(place):
        near = [k for k in kept if abs(place[k] - here) <= 1]
        leads = number < forced or not near
        leader.append(number if leads else near[0])
        kept += [number] if leads else []
    return leader


@pytest.fixture(params=[1, 2, 3, 1024])
def _leaf(request, monkeypatch):
    monkeypatch.setattr(leaders, "LEAF", request.param)


@pytest.mark.usefixtures("_leaf")
def test_of_a_chain_every_second_stays():
    assert find_leaders(5, Line([0, 1, 2, 3, 4])).tolist() == [0, 0, 2, 2, 4]


@pytest.mark.usefixtures("_leaf")
def test_who_is_near_several_follows_the_first():
    assert find_leaders(3, Line([0, 1.8, 0.9])).tolist() == [0, 1, 0]
    assert find_leaders(3, Line([1.8, 0, 0.9])).tolist() == [0, 1, 0]


@pytest.mark.usefixtures("_leaf")
def test_the_forced_lead_whatever_is_near_them():
    assert find_leaders(4, Line([0, 0, 0, 5]), forced=2).tolist() == [0, 1, 0, 3]


@pytest.mark.usefixtures("_leaf")
@pytest.mark.parametrize("forced", [0, 7])
def test_halves_change_nothing(forced):
    rng = np.random.default_rng(0)
    for spread in (3, 30, 300):
        place = rng.uniform(0, spread, 60)
        assert find_leaders(60, Line(place), forced=forced).tolist() == greedily(place, forced)


def test_nothing():
    assert find_leaders(0, Line([])).tolist() == []
