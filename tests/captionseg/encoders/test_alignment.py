import numpy as np
import pytest

from captionseg.arrays import Rows
from captionseg.encoders import alignment
from captionseg.encoders.alignment import (
    AlignmentParams,
    assign_folds,
    cross_fit,
    embed_by_fold,
    fit,
    measure_spread,
    sum_rows,
)
from captionseg.encoders.encoder import normalise

PARAMS = AlignmentParams(epochs=30, batch=32, learning_rate=1e-2, dropout=0.1)


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Texts, and image features that are a linear map of them with noise, of another scale in each
    dimension.
    """
    rng = np.random.default_rng(0)
    text = normalise(rng.normal(size=(300, 8)))
    features = text @ rng.normal(size=(8, 20)) + 0.3 * rng.normal(size=(300, 20))
    return (features * np.geomspace(0.01, 100, 20) + 5.0).astype(np.float32), text


def embed(features: np.ndarray, text: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Cross-fitted embeddings."""
    return embed_by_fold(features, fold, cross_fit(features, text, fold, PARAMS, seed=0))


def found(images: np.ndarray, text: np.ndarray) -> float:
    """Share of images whose own text is the nearest of all."""
    return float(((images @ text.T).argmax(1) == np.arange(len(text))).mean())


def test_a_linear_map_is_learnt_and_carries_over(pairs):
    features, text = pairs
    alignment = fit(features[:250], text[:250], PARAMS, seed=0)
    assert found(alignment(features[250:]), text[250:]) > 0.5  # chance is 1 in 50


def test_embeddings_are_unit_vectors_of_any_shape(pairs):
    alignment = fit(*pairs, PARAMS, seed=0)
    maps = alignment(pairs[0][:24].reshape(2, 3, 4, 20).astype(np.float16))
    assert (maps.shape, maps.dtype) == ((2, 3, 4, 8), np.float32)
    np.testing.assert_allclose(np.linalg.norm(maps, axis=-1), 1.0, rtol=1e-5)


def test_the_same_seed_gives_the_same_matrix(pairs):
    first, again, other = (fit(*pairs, PARAMS, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.weight, again.weight)
    assert not np.allclose(first.weight, other.weight)


def test_seeding_leaves_the_rest_of_the_program_alone(pairs):
    import torch

    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    fit(*pairs, AlignmentParams(epochs=1), seed=1)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("count", [1, 2, 33])
def test_small_corpora_can_be_fitted(pairs, count):
    alignment = fit(pairs[0][:count], pairs[1][:count], PARAMS, seed=0)
    assert np.isfinite(alignment(pairs[0])).all()


def test_a_feature_that_never_changes_does_no_harm(pairs):
    features = np.concatenate([pairs[0], np.full((300, 1), 7.0, np.float32)], 1)
    assert np.isfinite(fit(features, pairs[1], PARAMS, seed=0)(features)).all()


def test_what_is_read_from_a_file_in_another_order_of_rows_is_fitted_as_in_memory(pairs, tmp_path):
    features, text = pairs
    order = np.random.default_rng(0).permutation(300)
    np.save(tmp_path / "features.npy", features[np.argsort(order)])
    stored = Rows(np.load(tmp_path / "features.npy", mmap_mode="r"), order)
    expected, found = (fit(x, text, PARAMS, seed=0) for x in (features, stored))
    for name in ("mean", "scale", "weight"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_mean_and_deviation_are_those_of_numpy():
    features = np.random.default_rng(0).normal(3, 2, size=(3000, 7)).astype(np.float32)
    mean, deviation = measure_spread(Rows(features))
    np.testing.assert_array_equal(mean, features.mean(0))
    np.testing.assert_array_equal(deviation, features.std(0))


def test_sums_of_many_rows_do_not_stop_growing(monkeypatch):
    """In float32 2^24 + 1 is 2^24; so are lost the ones in the span of 2^24, and no others."""
    monkeypatch.setattr(alignment, "SPAN", 1)
    values = np.ones((2 * Rows.BLOCK, 2), np.float32)
    values[0] = 2**24
    assert values.sum(0).tolist() == [2**24] * 2
    assert sum_rows(Rows(values), lambda block: block).tolist() == [2**24 + Rows.BLOCK] * 2


def test_folds_are_equal_in_size_and_in_random_order():
    fold = assign_folds(103, 5, seed=0)
    assert sorted(np.bincount(fold)) == [20, 20, 21, 21, 21]
    assert not np.array_equal(fold, np.arange(103) % 5)
    np.testing.assert_array_equal(fold, assign_folds(103, 5, seed=0))
    assert not np.array_equal(fold, assign_folds(103, 5, seed=1))


def test_no_embedding_depends_on_the_texts_of_its_own_fold(pairs):
    features, text = pairs
    fold = assign_folds(300, 4, seed=0)
    before = embed(features, text, fold)
    for k in (0, 3):
        inside = fold == k
        wrong = text.copy()
        wrong[inside] = wrong[inside][::-1]
        after = embed(features, wrong, fold)
        np.testing.assert_array_equal(before[inside], after[inside])
        assert (np.abs(before[~inside] - after[~inside]).max(1) > 1e-4).all()


def test_cross_fitted_similarities_are_honest(pairs):
    rng = np.random.default_rng(1)
    # nothing to learn, but more dimensions than needed to memorise
    noise = normalise(rng.normal(size=(60, 30)))
    text = normalise(rng.normal(size=(60, 8)))
    seen = fit(noise, text, PARAMS, seed=0)(noise)
    honest = embed(noise, text, assign_folds(60, 5, seed=0))
    assert found(seen, text) > 5 * found(honest, text)


def test_a_single_fold_is_scored_by_what_saw_it(pairs):
    features, text = pairs
    one = embed(features, text, np.zeros(300, np.int32))
    np.testing.assert_array_equal(one, fit(features, text, PARAMS, seed=0)(features))
