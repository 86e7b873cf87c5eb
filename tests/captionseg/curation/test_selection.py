import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.curation.selection import lay_out, list_named, select, take, weigh

INF = np.inf


def test_best_first_and_no_more_than_the_limit():
    score = np.array([[0.1, 0.9, -INF, 0.5], [-INF, -INF, -INF, -INF]])
    nobody = np.zeros((2, 4), bool)
    assert select(score, nobody, 2, own_first=False).tolist() == [[1, 3], [-1, -1]]
    assert select(score, nobody, 9, own_first=False).tolist() == [[1, 3, 0, -1], [-1, -1, -1, -1]]


def test_ties_go_to_the_more_frequent_concept():
    assert select(
        np.array([[0.5, 0.7, 0.5, 0.7]]), np.zeros((1, 4), bool), 4, own_first=True
    ).tolist() == [[1, 3, 0, 2]]


def test_own_concepts_stand_first_among_themselves_by_score():
    score = np.array([[0.9, 0.52, 0.51, 0.53]], np.float32)  # single precision must not blur them
    own = np.array([[False, True, True, True]])
    assert select(score, own, 2, own_first=True).tolist() == [[3, 1]]
    assert select(score, own, 4, own_first=True).tolist() == [[3, 1, 2, 0]]
    assert select(score, own, 2, own_first=False).tolist() == [[0, 3]]


def test_own_first_brings_nothing_in_that_was_left_out():
    own = np.array([[True, True]])
    assert select(np.array([[-INF, 0.5]]), own, 2, own_first=True).tolist() == [[1, -1]]


def test_take_fills_what_is_padded():
    matrix = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(
        take(matrix, np.array([[2, -1, 0]]), np.nan), [[3.0, np.nan, 1.0]]
    )


def test_the_most_frequent_of_what_is_named():
    named = np.array([[False, True, True], [False, False, False]])
    assert list_named(csr_array(named), 1).tolist() == [[1], [-1]]


def test_weights_are_the_exponential_of_scores_with_the_best_at_one():
    score = np.array([[2.0, 1.0, np.nan], [0.0, -100.0, -1.0], [np.nan] * 3])
    certain = np.array([[False, False, False], [False, False, True], [False] * 3])
    found = weigh(score, certain, 0.5)
    expected = [[1, np.exp(-2), 0], [1, np.exp(-69), 1], [0, 0, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_rows_of_values_become_a_matrix():
    assert lay_out(np.array([3, 1, 4]), np.array([2, 0, 1]), -1).tolist() == [
        [3, 1],
        [-1, -1],
        [4, -1],
    ]
    assert lay_out(np.array([3.0]), np.array([1]), 0, least=2).tolist() == [[3.0, 0.0]]
    assert lay_out(np.array([], int), np.array([0, 0]), -1).shape == (2, 0)


@pytest.mark.parametrize("own_first", [False, True])
def test_selection_is_that_of_a_stable_sort_of_whole_rows(own_first):
    """Many ties, rows without any concept, NaN."""
    rng = np.random.default_rng(0)
    score = rng.integers(0, 6, (300, 40)) / 4
    score[rng.random(score.shape) < 0.4] = -INF
    score[rng.random(score.shape) < 0.02] = np.nan
    score[7] = -INF
    own = rng.random(score.shape) < 0.1
    key = np.where(np.isfinite(score), score + (1e6 * own if own_first else 0), -INF)
    for limit in (1, 6, 40, 50):
        order = np.argsort(-key, axis=1, kind="stable")[:, :limit]
        expected = np.where(np.take_along_axis(key, order, 1) > -INF, order, -1)
        found = select(score, own, limit, own_first=own_first)
        np.testing.assert_array_equal(found, expected)
