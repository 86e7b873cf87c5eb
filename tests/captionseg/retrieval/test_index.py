"""What every index must do, and the neighbours table."""

import numpy as np
import pytest

from captionseg.arrays import Rows
from captionseg.encoders.encoder import normalise
from captionseg.retrieval.exact import ExactIndex
from captionseg.retrieval.index import find_neighbours, recall
from captionseg.retrieval.indexes import INDEXES


def neighbours(*arguments, **options) -> tuple[np.ndarray, np.ndarray]:
    """All chunks of `find_neighbours` in one."""
    near, similarity = zip(*find_neighbours(*arguments, **options), strict=True)
    return np.concatenate(near), np.concatenate(similarity)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return normalise(np.random.default_rng(0).normal(size=(120, 6)))


@pytest.mark.parametrize("name", INDEXES)
def test_against_sorting_all_products(name, vectors):
    queries = normalise(np.random.default_rng(1).normal(size=(9, 6)))
    score, rows = INDEXES[name](vectors).search(queries, 10)
    products = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    np.testing.assert_array_equal(rows, np.argsort(-products, axis=1)[:, :10])
    np.testing.assert_allclose(score, -np.sort(-products, axis=1)[:, :10], rtol=1e-5)


@pytest.mark.parametrize("name", INDEXES)
def test_fewer_rows_than_wanted_is_minus_one_and_minus_infinity(name, vectors):
    score, rows = INDEXES[name](vectors[:3]).search(vectors[:2], 5)
    assert sorted(rows[0, :3]) == [0, 1, 2]
    assert (rows[:, 3:] == -1).all()
    assert np.isneginf(score[:, 3:]).all()


@pytest.mark.parametrize("name", INDEXES)
def test_neighbours_are_the_most_similar_others(name, vectors):
    near, similarity = neighbours(
        INDEXES[name](vectors), np.arange(120), vectors, 7, starts=range(0, 120, 32)
    )
    products = vectors @ vectors.T
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_array_equal(near, np.argsort(-products, axis=1)[:, :7])
    np.testing.assert_allclose(similarity, -np.sort(-products, axis=1)[:, :7], rtol=1e-5)
    assert (near.dtype, similarity.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("name", INDEXES)
def test_only_some_rows_are_indexed_but_all_are_queries(name, vectors):
    rows = np.array([3, 10, 11, 50])
    near, _ = neighbours(INDEXES[name](vectors[rows]), rows, vectors, 3)
    assert set(near.ravel()) == set(rows)
    assert not (near == np.arange(120)[:, None]).any()
    assert set(near[10]) == {3, 11, 50}  # itself excluded, all others left


@pytest.mark.parametrize("name", INDEXES)
def test_more_neighbours_than_images_are_padded(name, vectors):
    near, similarity = neighbours(INDEXES[name](vectors[:3]), np.arange(3), vectors[:3], 5)
    assert [set(row[:2]) for row in near] == [{1, 2}, {0, 2}, {0, 1}]
    assert (near[:, 2:] == -1).all()
    assert np.isneginf(similarity[:, 2:]).all()


@pytest.mark.parametrize("name", INDEXES)
def test_an_image_that_is_twice_in_the_corpus_is_its_own_neighbour(name, vectors):
    twice = np.concatenate([vectors[:4], vectors[:4]])
    near, similarity = neighbours(INDEXES[name](twice), np.arange(8), twice, 1)
    assert near[:, 0].tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    np.testing.assert_allclose(similarity, 1.0, rtol=1e-6)


@pytest.mark.parametrize("name", INDEXES)
def test_rows_of_the_same_picture_are_no_neighbours(name, vectors):
    """Rows of picture p lie apart from one another; some are indexed, some only ask."""
    picture, rows = np.random.default_rng(3).integers(40, size=120), np.arange(0, 120, 2)
    near, similarity = neighbours(
        INDEXES[name](vectors[rows]), rows, vectors, 5, starts=range(0, 120, 32), picture=picture
    )
    products = np.where(picture[:, None] == picture[rows], -np.inf, vectors @ vectors[rows].T)
    np.testing.assert_array_equal(near, rows[np.argsort(-products, axis=1)[:, :5]])
    np.testing.assert_allclose(similarity, -np.sort(-products, axis=1)[:, :5], rtol=1e-5)
    same = neighbours(INDEXES[name](vectors), np.arange(120), vectors, 5)
    alone = neighbours(
        INDEXES[name](vectors), np.arange(120), vectors, 5, picture=np.arange(120)[::-1]
    )
    assert [a.tobytes() for a in same] == [a.tobytes() for a in alone]


@pytest.mark.parametrize("name", INDEXES)
def test_what_is_left_of_a_picture_of_many_pairs_is_padded(name, vectors):
    """Four rows of one picture and one of another: the four have one neighbour, the one has all
    four.
    """
    index = INDEXES[name](vectors[:5])
    near, similarity = neighbours(
        index, np.arange(5), vectors[:5], 4, picture=np.array([0, 0, 0, 0, 1])
    )
    assert near[:4].tolist() == [[4, -1, -1, -1]] * 4
    assert np.isneginf(similarity[:4, 1:]).all()
    assert set(near[4]) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", INDEXES)
def test_more_copies_than_neighbours_never_include_the_image_itself(name):
    same = np.tile(np.array([[0.6, 0.8]], np.float32), (9, 1))
    near, _ = neighbours(INDEXES[name](same), np.arange(9), same, 3)
    assert not (near == np.arange(9)[:, None]).any()
    assert all(len(set(row)) == 3 for row in near.tolist())


def test_chunks_change_nothing(vectors):
    index = ExactIndex(vectors)
    for first, second in zip(
        *(
            neighbours(index, np.arange(120), vectors, 5, starts=range(0, 120, c))
            for c in (7, 1000)
        ),
        strict=True,
    ):
        np.testing.assert_allclose(first, second, rtol=1e-6)


class Fixed:
    """Finds the same rows for every query."""

    exact = False

    def __init__(self, rows):
        self.rows = np.array(rows)

    def search(self, queries, k):
        return np.ones((len(queries), k), np.float32), np.tile(self.rows[:k], (len(queries), 1))


def test_recall_by_hand():
    """Of (1, 0) rows 0 and 1 are the nearest two, of (0, 1) rows 3 and 2."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    queries = vectors[[0, 3]]
    assert recall(ExactIndex(vectors), vectors, queries, 2) == 1.0
    assert recall(Fixed([0, 1]), vectors, queries, 2) == 0.5
    assert recall(Fixed([0, 3]), vectors, queries, 2) == 0.5
    assert recall(Fixed([0, -1]), vectors, queries, 2) == 0.25
    assert recall(Fixed([-1, -1]), vectors, queries, 2) == 0.0
    assert recall(ExactIndex(vectors), vectors, queries, 9) == 1.0  # of the four that there are
    twins = np.repeat(vectors, 2, axis=0)
    assert recall(Fixed([1]), twins, twins[:1], 1) == 1.0  # row 0 is no nearer than row 1


def test_what_an_index_did_not_find_is_nobody():
    near, similarity = neighbours(
        Fixed([2, -1, 1, -1]), np.array([5, 6, 7]), np.eye(9, dtype=np.float32), 3
    )
    assert near[0].tolist() == [7, -1, 6]
    assert similarity.shape == (9, 3)
    assert set(near.ravel()) == {-1, 6, 7}


def test_recall_of_vectors_in_a_file_is_that_of_an_array(tmp_path):
    """In blocks, of which each holds some of the nearest."""
    vectors = normalise(np.random.default_rng(0).normal(size=(3000, 4)))
    np.save(tmp_path / "vectors.npy", vectors)
    stored = Rows(np.load(tmp_path / "vectors.npy", mmap_mode="r"))
    assert recall(ExactIndex(stored), stored, stored, 50) == 1.0
    index = ExactIndex(vectors)
    index.vectors = np.where(np.arange(3000)[:, None] % 2, 0, vectors)
    products = vectors[::15] @ vectors.T
    nearest = np.argsort(-products, axis=1)[:, :50]
    assert recall(index, stored, stored, 50) == pytest.approx((nearest % 2 == 0).mean(), abs=1e-3)
