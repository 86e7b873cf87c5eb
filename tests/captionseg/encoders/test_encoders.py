"""What every member of ENCODERS must do."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch

from captionseg.encoders.encoder import normalise
from captionseg.encoders.encoders import ENCODERS
from captionseg.encoders.reduction import Reduction
from captionseg.index_params import IndexParams
from captionseg.records import UserError

NAMES = sorted(ENCODERS)
WITHOUT_TOWER = ["siglip", "tips"]
WITH_TOWER = sorted(set(NAMES) - set(WITHOUT_TOWER))


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
    np.testing.assert_allclose(
        together, np.concatenate([encoder.text([t]) for t in texts]), atol=1e-5
    )
    assert len(encoder.text([])) == 0


@pytest.mark.parametrize("name", NAMES)
def test_dense_features_are_reduced_on_the_way_as_they_are_afterwards(build, pictures, name):
    encoder = build(name)
    whole = encoder.features(pictures)
    cells = whole.dense.reshape(-1, whole.dense.shape[3])
    reduction = Reduction.fit(cells[:, : cells.shape[1] - encoder.fine], 3)
    reduced = encoder.features(pictures, reduction)
    np.testing.assert_allclose(reduced.dense, reduction(whole.dense), rtol=1e-4, atol=1e-4)
    assert reduced.dense.shape[3] == 3 + encoder.fine
    for field in ("pooled", "descriptor"):
        np.testing.assert_array_equal(getattr(reduced, field), getattr(whole, field))


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


def squares(size: int, count: int = 3) -> list[np.ndarray]:
    return list(np.random.default_rng(1).integers(0, 255, (count, size, size, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_towers_see_what_features_see(build, name):
    encoder = build(name)
    images = squares(encoder.size)
    expected = encoder.features(images)
    pooled, dense = encoder.towers(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(normalise(pooled.numpy()), normalise(expected.pooled), atol=1e-5)
    np.testing.assert_allclose(dense.numpy(), expected.dense, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_pixels_and_no_weight(build, name):
    encoder = build(name)
    pixels = (
        torch.from_numpy(np.stack(squares(encoder.size, 2)))
        .permute(0, 3, 1, 2)
        .float()
        .requires_grad_()
    )
    for part in encoder.towers(pixels):
        (grad,) = torch.autograd.grad(part[0].square().sum(), pixels, retain_graph=True)
        assert grad.isfinite().all()
        assert grad[0].any()
        assert not grad[1].any()
    towers = (value for value in vars(encoder).values() if isinstance(value, torch.nn.Module))
    assert not any(p.requires_grad for tower in towers for p in tower.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_head_leads_from_dense_features_to_texts_where_there_is_no_alignment_to_train(
    build, pictures, name
):
    encoder = build(name)
    assert (encoder.head is None) == (not encoder.aligned)
    if encoder.head is not None:
        assert encoder.head.config.width == encoder.features(pictures).dense.shape[3]
        assert encoder.head.config.out == encoder.text(["a dog"]).shape[1]


TEXTS = ["a dog", "a photo of a very large herd of zebras that stand on dry grass"]


@pytest.mark.parametrize("name", WITH_TOWER)
def test_the_text_tower_step_by_step_is_the_text_encoder(build, name):
    encoder = build(name)
    tower = encoder.text_tower
    tokens = tower.tokens(TEXTS)
    embedded = tower.embed(tokens)
    states = tower.states(embedded, tokens)
    assert (tokens.dtype, embedded.shape, states.shape) == (
        torch.int64,
        *((*tokens.shape, tower.width),) * 2,
    )
    found = tower.pool(states, tokens)
    assert found.shape == (2, tower.out)
    np.testing.assert_allclose(normalise(found.numpy()), encoder.text(TEXTS), atol=1e-5)


@pytest.mark.parametrize("name", WITH_TOWER)
def test_gradients_reach_the_tokens_of_a_text_neither_its_padding_nor_a_weight(build, name):
    tower = build(name).text_tower
    assert not any(p.requires_grad for p in tower.parameters())
    tokens = tower.tokens(TEXTS)
    embedded = tower.embed(tokens).requires_grad_()
    tower.pool(tower.states(embedded, tokens), tokens).square().sum().backward()
    assert (embedded.grad != 0).any(2).tolist() == (tokens != 0).tolist()
    assert (tokens == 0).any()


@pytest.mark.parametrize("name", WITHOUT_TOWER)
def test_a_text_encoder_that_is_no_tower_is_one_line(build, name):
    with pytest.raises(UserError, match=f"{name} .*; this model needs .* use open_clip") as caught:
        build(name).text_tower  # noqa: B018
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_params_list_each_of_them(name):
    assert is_dataclass(ENCODERS[name])
    assert name in {f.name for f in fields(IndexParams)}
    assert IndexParams(encoder=name).encoder == name
