import numpy as np

from captionseg.retrieval.exact import ExactIndex


def test_best_first():
    index = ExactIndex(np.array([[1.0, 0], [0, 1], [0.6, 0.8]]))
    score, rows = index.search(np.array([[0.0, 1.0], [1.0, 0.0]]), 2)
    assert rows.tolist() == [[1, 2], [0, 2]]
    np.testing.assert_allclose(score, [[1.0, 0.8], [1.0, 0.6]], rtol=1e-6)


def test_ties_come_in_row_order_even_where_k_cuts_through_them():
    # integers, so that equal similarities are exactly equal
    vectors = np.array([[0, 1], [2, 0], [1, 0], [1, 5], [1, 0], [2, 9], [1, 1], [1, 2]], np.float32)
    score, rows = ExactIndex(vectors).search(np.array([[1.0, 0.0]]), 5)
    assert score.tolist() == [[2, 2, 1, 1, 1]]
    assert rows.tolist() == [[1, 5, 2, 3, 4]]


def test_ties_are_cut_the_same_way_however_many_there_are():
    vectors = np.ones((500, 2), np.float32)
    assert ExactIndex(vectors).search(np.ones((3, 2)), 7)[1].tolist() == [list(range(7))] * 3


def test_more_wanted_than_there_are_is_padded():
    score, rows = ExactIndex(np.array([[1.0], [2.0]])).search(np.array([[1.0]]), 4)
    assert rows.tolist() == [[1, 0, -1, -1]]
    assert score.tolist() == [[2, 1, -np.inf, -np.inf]]
    score, rows = ExactIndex(np.zeros((0, 3))).search(np.zeros((2, 3)), 2)
    assert (rows == -1).all()
    assert np.isneginf(score).all()
