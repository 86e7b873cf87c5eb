import itertools

import numpy as np
import pytest

from captionseg.records import UserError
from captionseg.supervision.sampling import draw, start_at

N = 20_000


def repeated(row: list[float], cluster: list[int], count: int, seed: int = 0) -> np.ndarray:
    weight, clusters = np.tile(np.array(row, float), (N, 1)), np.tile(np.array(cluster), (N, 1))
    return draw(weight, clusters, count, np.random.default_rng(seed))


def near(share: np.ndarray, expected: np.ndarray) -> bool:
    deviation = np.sqrt(expected * (1 - expected) / N)
    return bool((np.abs(share - expected) <= 4.5 * deviation).all())


def test_one_concept_of_each_cluster():
    clusters = [0, 0, 1, 2, 1, -1]
    picks = repeated([1, 2, 3, 1, 1, 0], clusters, 3)
    assert np.array_equal(np.array(clusters)[picks], np.tile([0, 1, 2], (N, 1)))


def test_inside_a_cluster_frequencies_are_the_weights():
    picks = repeated([1, 3, 2, 6, 5], [0, 0, 1, 1, 2], 3)
    shares = np.stack([(picks == c).mean(0) for c in range(5)])  # [concept, cluster]
    assert near(shares[[0, 1, 2, 3], [0, 0, 1, 1]], np.array([1 / 4, 3 / 4, 1 / 4, 3 / 4]))
    assert (picks[:, 2] == 4).all()


def test_an_empty_cluster_gives_nothing():
    assert repeated([1, 1, 0], [0, 2, -1], 3)[:, 1].tolist() == [-1] * N


def test_without_clusters_frequencies_are_the_weights():
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    picks = repeated([*weight, 0], [-1] * 5, 1)
    assert near(np.array([(picks == c).mean() for c in range(5)]), np.array([*weight, 0]) / 10)


def test_without_clusters_nothing_is_drawn_twice_and_frequencies_follow_from_that():
    weight = np.array([1.0, 2.0, 3.0])
    picks = repeated(list(weight), [-1] * 3, 2)
    assert (picks[:, 0] != picks[:, 1]).all()
    share = weight / weight.sum()
    for first, second in itertools.permutations(range(3), 2):
        expected = share[first] * share[second] / (1 - share[first])
        assert near(np.array(((picks == [first, second]).all(1)).mean()), np.array(expected))


def test_too_few_concepts_are_padded():
    weight = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    picks = draw(weight, np.full((2, 3), -1), 5, np.random.default_rng(0))
    assert set(picks[0, :2]) == {0, 2}
    assert (picks[0, 2:] == -1).all()
    assert (picks[1] == -1).all()


def test_rows_with_and_without_clusters_side_by_side():
    weight = np.ones((2, 4))
    cluster = np.array([[0, 0, 1, 1], [-1, -1, -1, -1]])
    picks = draw(weight, cluster, 3, np.random.default_rng(0))
    assert set(picks[0, :1]) <= {0, 1}
    assert set(picks[0, 1:2]) <= {2, 3}
    assert picks[0, 2] == -1
    assert len(set(picks[1])) == 3


def test_the_same_noise_draws_the_same():
    weight, cluster = np.ones((50, 6)), np.full((50, 6), -1)
    first, again, other = (draw(weight, cluster, 3, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_more_clusters_than_draws_would_never_draw_the_last_ones():
    with pytest.raises(UserError, match=r"3 clusters.*2 concepts"):
        draw(np.ones((1, 3)), np.array([[0, 1, 2]]), 2, np.random.default_rng(0))


def test_parts_of_rows_draw_what_all_of_them_draw():
    """With the noise of their own rows, though each part has a generator of its own."""
    rng = np.random.default_rng(0)
    weight, cluster = rng.random((50, 7)), np.full((50, 7), -1)
    weight[rng.random(weight.shape) < 0.3] = 0
    whole = draw(weight, cluster, 3, np.random.default_rng([5, 2]))
    for first, last in ((0, 50), (0, 1), (13, 40), (49, 50)):
        part = draw(weight[first:last], cluster[first:last], 3, start_at((5, 2), first, 7))
        np.testing.assert_array_equal(part, whole[first:last])
