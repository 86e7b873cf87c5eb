import numpy as np
import pytest

from captionseg.curation.clustering import cluster, farthest_first


def at(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


ALL = np.array([[0, 1, 2, 3, 4]])


def test_farthest_first_by_hand():
    points = at(0, 10, 170, 90, 100)
    centres = farthest_first((points @ points.T)[None], np.ones((1, 5), bool), 3)[0].T @ points
    # the best-ranked concept, then the one farthest from it (170), then the one farthest from both
    # (90: 80 degrees off)
    np.testing.assert_allclose(centres, at(0, 170, 90), atol=1e-6)


def test_clusters_by_hand():
    assert cluster(ALL, at(0, 10, 170, 90, 100), 3).tolist() == [[0, 0, 1, 2, 2]]
    # 90 joins the mean of 100 and 170
    assert cluster(ALL, at(0, 10, 170, 90, 100), 2).tolist() == [[0, 0, 1, 1, 1]]
    assert cluster(ALL, at(0, 10, 170, 90, 100), 1).tolist() == [[0] * 5]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_more_concepts_than_clusters_get_one_each(size):
    concept = np.where(np.arange(5) < size, [4, 1, 0, 3, 2], -1)[None]
    label = cluster(concept, at(0, 5, 50, 120, 250), 3)[0]
    assert sorted(label[:size]) == list(range(size))
    assert (label[size:] == -1).all()


def test_padding_belongs_to_no_cluster_and_moves_none():
    embedding = at(0, 10, 170, 90, 100)
    padded = cluster(np.array([[0, 1, 2, 3, 4, -1, -1], [-1] * 7]), embedding, 3)
    assert padded.tolist() == [[0, 0, 1, 2, 2, -1, -1], [-1] * 7]


def test_rows_do_not_know_each_other_and_nothing_is_random():
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(20, 5))
    embedding = (embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32)
    concept = np.stack([rng.permutation(20)[:8] for _ in range(30)])
    together = cluster(concept, embedding, 3)
    np.testing.assert_array_equal(
        together, np.concatenate([cluster(row[None], embedding, 3) for row in concept])
    )
    np.testing.assert_array_equal(together, cluster(concept, embedding, 3))
    assert [set(row) for row in together] == [{0, 1, 2}] * 30  # none is empty


def test_each_concept_is_nearest_to_the_centre_of_its_own_cluster():
    rng = np.random.default_rng(1)
    embedding = rng.normal(size=(12, 4))
    embedding = (embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32)
    label = cluster(np.arange(12)[None], embedding, 3, iterations=100)[0]
    centres = np.stack([embedding[label == c].sum(0) for c in range(3)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    np.testing.assert_array_equal((embedding @ centres.T).argmax(1), label)
