import numpy as np

from captionseg.marking.clusters import assign, fit_centres


def unit(array):
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def test_assign_takes_the_highest_cosine():
    centres = np.eye(3, dtype=np.float32)
    points = np.array([[0.1, 0.9, 0], [1, 0, 0.5]], np.float16)
    assert assign(points, centres).tolist() == [1, 0]


def test_centres_are_the_means_of_groups():
    rng = np.random.default_rng(0)
    truth = unit(rng.normal(size=(2, 8)))
    truth[1] -= truth[1] @ truth[0] * truth[0]
    truth = unit(truth)
    points = unit(np.repeat(truth, 50, axis=0) + 0.05 * rng.normal(size=(100, 8)))
    centres = fit_centres(points, 2, iterations=20, seed=3)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=1e-5)
    assert ((centres @ truth.T).max(0) > 0.7).all() or len(np.unique(assign(points, centres))) == 2
    means = unit(np.stack([points[assign(points, centres) == c].mean(0) for c in range(2)]))
    np.testing.assert_allclose(centres, means, atol=1e-5)


def test_more_centres_than_points():
    points = np.eye(2, dtype=np.float32)
    assert fit_centres(points, 5, iterations=3, seed=0).shape == (2, 2)
