"""A square whose border lies in a band of ignored pixels: exact, dilated and missing predictions."""

from __future__ import annotations

import numpy as np
import pytest

from captionseg.benchmarks.boundaries import edges
from captionseg.metrics import boundary_f, boundary_matches

IGNORE = 255


def square(grown: int = 0) -> np.ndarray:
    labels = np.zeros((100, 100), int)
    labels[30 - grown : 70 + grown, 30 - grown : 70 + grown] = 1
    return labels


@pytest.fixture
def banded() -> np.ndarray:
    """The square with two pixels on either side of its border left out; boundaries may lie two apart."""
    true = np.where(square(2) == square(-2), square(), IGNORE)
    assert np.ceil(0.0075 * np.hypot(100, 100)) == 2
    return true


@pytest.mark.parametrize(("grown", "least", "most"), [
    (0, 1, 1), (1, 0.97, 1), (-1, 0.97, 1), (6, 0, 0.01), (-8, 0, 0.01)])  # fmt: skip
def test_a_band_along_the_border(banded, grown, least, most):
    found = boundary_f(edges(square(grown), banded, 2, ignore=IGNORE))
    assert (found >= least).all()
    assert (found <= most).all()


def test_nothing_predicted_finds_no_border_and_a_wrong_one_in_the_band_is_not_held_against_it(banded):
    nothing = edges(np.zeros((100, 100), int), banded, 2, ignore=IGNORE)
    assert nothing[[0, 1, 3]].sum() == 0
    assert nothing[2].all()
    noisy = square()
    noisy[28, 28] = 1  # a corner of the band, almost three pixels from the border
    assert boundary_f(edges(noisy, banded, 2, ignore=IGNORE)).min() > 0.99  # a pixel beside the band


def test_pixels_far_from_any_label_count_nowhere():
    true = square()
    true[:, 80:] = IGNORE
    wild = square()
    wild[::2, 85:] = 1
    assert boundary_f(edges(wild, true, 2, ignore=IGNORE)).tolist() == [1.0, 1.0]


def test_without_ignored_pixels_it_is_the_plain_count():
    rng = np.random.default_rng(0)
    one, two = (np.kron(rng.integers(0, 4, (6, 6)), np.ones((5, 5), int)) for _ in range(2))
    np.testing.assert_array_equal(edges(one, two, 4, ignore=IGNORE), boundary_matches(one, two, 4))
    assert edges(one, np.full_like(two, IGNORE), 4, ignore=IGNORE).sum() == 0
