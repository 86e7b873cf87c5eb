import numpy as np

from captionseg.curation.selection import curate_chunks, select, select_named, take, weigh
from captionseg.supervision.columns import Supervision

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
    assert select_named(named, 1).tolist() == [[1], [-1]]


def test_weights_are_the_exponential_of_scores_with_the_best_at_one():
    score = np.array([[2.0, 1.0, np.nan], [0.0, -100.0, -1.0], [np.nan] * 3])
    certain = np.array([[False, False, False], [False, False, True], [False] * 3])
    found = weigh(score, certain, 0.5)
    expected = [[1, np.exp(-2), 0], [1, np.exp(-69), 1], [0, 0, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_chunks_are_put_one_after_another(by_hand):
    seen = []

    def columns(rows):
        seen.append(rows.tolist())
        concept = np.where(rows[:, None] % 3 > np.arange(2), 0, -1)  # none, one or two
        return {"concept": concept, "support": np.repeat(rows[:, None], 2, 1)}

    found = curate_chunks("x", by_hand, Supervision.blank(by_hand.uid), 4, columns)
    assert seen == [[0, 1, 2, 3], [4, 5]]
    assert (found.rule, list(found.uid)) == ("x", list(by_hand.uid))
    assert found.count.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.support.tolist() == [[0, 0], [1, 0], [2, 2], [0, 0], [4, 0], [5, 5]]
