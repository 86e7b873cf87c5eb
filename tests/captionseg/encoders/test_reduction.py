from types import SimpleNamespace

import numpy as np
import pytest

from captionseg.encoders.encoder import Features
from captionseg.encoders.reduction import ReducedEncoder, Reduction, fit_reduction


@pytest.fixture
def cells() -> np.ndarray:
    """[400, 6] features of rank 3 and a mean that is not zero."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(400, 3)) @ rng.normal(size=(3, 6)) + 5.0).astype(np.float32)


def test_all_the_variance_of_rank_three_is_in_three_components(cells):
    reduction = Reduction.fit(cells, 3)
    back = reduction(cells) @ reduction.basis.T + reduction.mean
    np.testing.assert_allclose(back, cells, atol=1e-3)
    variance = reduction(cells).var(0)
    assert (np.diff(variance) < 0).all()


def test_components_agree_with_singular_vectors(cells):
    basis = Reduction.fit(cells, 2).basis
    _, _, vectors = np.linalg.svd(cells - cells.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(basis.T @ vectors[:2].T), np.eye(2), atol=1e-4)


def test_channels_after_the_first_are_kept(cells):
    reduction = Reduction.fit(cells[:, :4], 2)
    out = reduction(cells.reshape(20, 20, 6))
    assert out.shape == (20, 20, 4)
    np.testing.assert_array_equal(out[..., 2:], cells.reshape(20, 20, 6)[..., 4:])


def test_saved_and_loaded_it_is_the_same(cells, tmp_path):
    assert Reduction.load(tmp_path) is None
    reduction = Reduction.fit(cells, 3)
    reduction.save(tmp_path)
    np.testing.assert_array_equal(Reduction.load(tmp_path)(cells), reduction(cells))


def test_only_dense_features_are_reduced_and_fine_channels_are_left_out_of_the_fit(cells):
    dense = cells[:64].reshape(4, 4, 4, 6)
    encoder = SimpleNamespace(
        aligned=False,
        batch=3,
        fine=2,
        text=lambda texts: np.ones((len(texts), 2)),
        features=lambda images, reduction=lambda dense: dense: Features(
            np.ones((len(images), 5)), np.ones((len(images), 5)), reduction(dense[: len(images)])
        ),
    )
    reduction = fit_reduction(encoder, [np.zeros((8, 8, 3), np.uint8)] * 4, 2)
    assert reduction.basis.shape == (4, 2)
    features = ReducedEncoder(encoder, reduction).features([np.zeros((8, 8, 3), np.uint8)] * 2)
    assert features.dense.shape == (2, 4, 4, 4)
    np.testing.assert_array_equal(features.pooled, np.ones((2, 5)))
