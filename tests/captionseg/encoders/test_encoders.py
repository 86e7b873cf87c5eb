"""What every member of ENCODERS must do."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from captionseg.encoders import ENCODERS, IndexParams

NAMES = sorted(ENCODERS)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_lengths(build, pictures, name):
    encoder = build(name)
    out = encoder.features(pictures)
    text = encoder.text(["a dog", "grass"])
    assert all(a.dtype == np.float32 for a in (out.pooled, out.descriptor, out.dense, text))
    assert all(np.isfinite(a).all() for a in (out.pooled, out.descriptor, out.dense, text))
    assert len(out.pooled) == len(out.descriptor) == len(out.dense) == 3
    assert out.dense.ndim == 4
    assert 0 <= encoder.fine < out.dense.shape[3]
    np.testing.assert_allclose(np.linalg.norm(out.descriptor, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1.0, rtol=1e-5)
    if encoder.aligned:
        assert out.pooled.shape[1] == out.dense.shape[3] == text.shape[1]


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_know_its_batch(build, pictures, name):
    encoder = build(name)
    together = encoder.features(pictures)
    for row, picture in enumerate(pictures):
        alone = encoder.features([picture])
        for field in fields(alone):
            first, second = getattr(alone, field.name)[0], getattr(together, field.name)[row]
            np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_does_not_know_its_batch(build, name):
    encoder = build(name)
    texts = ["a dog", "a photo of a very large herd of zebras that stand on dry grass", "a dog", ""]
    together = encoder.text(texts)
    np.testing.assert_array_equal(together[0], together[2])
    np.testing.assert_allclose(together, np.concatenate([encoder.text([t]) for t in texts]), atol=1e-5)
    assert len(encoder.text([])) == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_same_picture_gives_the_same_numbers(build, pictures, name):
    first, again = (build(name).features(pictures) for _ in range(2))
    for field in fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))


@pytest.mark.parametrize("name", NAMES)
def test_dense_features_lie_where_the_picture_is(build, name):
    """A patch in the upper right corner changes the features there most."""
    encoder = build(name)
    plain = np.full((64, 64, 3), 120, np.uint8)
    marked = plain.copy()
    marked[:16, -16:] = [255, 0, 0]
    before, after = (encoder.features([picture]).dense[0] for picture in (plain, marked))
    moved = np.linalg.norm(after - before, axis=-1)
    assert np.unravel_index(moved.argmax(), moved.shape) == (0, moved.shape[1] - 1)


@pytest.mark.parametrize("name", NAMES)
def test_params_list_each_of_them(name):
    assert is_dataclass(ENCODERS[name])
    assert name in {f.name for f in fields(IndexParams)}
    assert IndexParams(encoder=name).encoder == name
