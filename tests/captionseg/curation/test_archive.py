import numpy as np

from captionseg.curation.archive import NO_CONCEPT, Archive, join, select, take, to_supervision
from captionseg.records import Concept, Supervision

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


def test_own_first_brings_nothing_in_that_is_not_in_the_archive():
    own = np.array([[True, True]])
    assert select(np.array([[-INF, 0.5]]), own, 2, own_first=True).tolist() == [[1, -1]]


def test_take_fills_what_is_padded():
    matrix = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(
        take(matrix, np.array([[2, -1, 0]]), np.nan), [[3.0, np.nan, 1.0]]
    )


def test_supervision_by_hand(by_hand):
    width_two = [
        np.array(rows)
        for rows in (
            [[1, 0]] * 6,
            [[2.0, 1.0]] * 6,
            [[0.9, 0.8]] * 6,
            [[1.1, 0.2]] * 6,
            [[1.0, 0.5]] * 6,
            [[2, 1]] * 6,
            [[0, 1]] * 6,
        )
    ]
    width_two[0][4:] = [[2, -1], [-1, -1]]
    before = Supervision.blank(by_hand.uid)
    before.kept[:2], before.drop_reason[:2] = False, ["too_small", "too_small"]
    after = to_supervision(Archive(*width_two), by_hand, before, "x")
    assert after.kept.tolist() == [False, False, True, True, True, False]
    assert list(after.drop_reason) == ["too_small", "too_small", "", "", "", NO_CONCEPT]
    assert after.concepts[3] == (
        Concept("grass", 2.0, 0.9, 1.1, 1.0, 2, 0, "x"),
        Concept("dog", 1.0, 0.8, 0.2, 0.5, 1, 1, "x"),
    )
    assert [c.text for c in after.concepts[4]] == ["car"]
    assert before.kept.tolist() == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]  # what it was given stays as it was


def test_join_puts_chunks_one_after_another():
    parts = [Archive(*(np.full((n, 2), n) for _ in range(7))) for n in (1, 2)]
    assert join(parts).support.tolist() == [[1, 1], [2, 2], [2, 2]]
