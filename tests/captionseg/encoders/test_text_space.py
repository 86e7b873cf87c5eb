import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from captionseg.encoders.alignment import Alignment
from captionseg.encoders.encoder import Encoder, normalise
from captionseg.encoders.encoders import ENCODERS
from captionseg.encoders.open_clip import OpenClipParams
from captionseg.encoders.reduction import ReducedEncoder, Reduction, fit_reduction
from captionseg.encoders.text_space import TextSpace, denormalise, load_sigmoid
from captionseg.prepared import normalise_image as prepared
from captionseg.records import Sigmoid, UserError
from captionseg.runtime.device import Runtime


@pytest.fixture
def space(toy) -> TextSpace:
    rng = np.random.default_rng(0)
    heads = (
        Alignment(*(rng.normal(size=s).astype(np.float32) for s in ((p,), (p,), (p, 16))))
        for p in (48, 3)
    )
    return TextSpace(toy.params().build(None), *heads)


def save(space: TextSpace, folder, **changes) -> None:
    space.save(folder, **{"encoder": "toy", "params": {"batch": 3}, "precision": "fp32", **changes})


def test_what_is_saved_is_what_is_loaded(space, tmp_path):
    save(space, tmp_path / "encoder")
    again = TextSpace.load(tmp_path / "encoder", device="cpu")
    assert again.encoder.batch == 3
    pooled, dense = (
        np.random.default_rng(1).normal(size=(2, 48)),
        np.random.default_rng(2).normal(size=(2, 4, 4, 3)),
    )
    np.testing.assert_array_equal(again.project_pooled(pooled), space.project_pooled(pooled))
    np.testing.assert_array_equal(again.project_dense(dense), space.project_dense(dense))
    np.testing.assert_array_equal(again.encode(["a dog"]), space.encode(["a dog"]))


def test_an_aligned_encoder_only_normalises(toy, tmp_path):
    save(
        TextSpace(toy.params(aligned=True).build(None), None, None),
        tmp_path,
        params={"aligned": True},
    )
    again = TextSpace.load(tmp_path)
    pooled = np.random.default_rng(1).normal(size=(2, 16))
    np.testing.assert_array_equal(again.project_pooled(pooled), normalise(pooled))


def test_the_probability_that_an_encoder_has_learnt_is_saved_with_it(space, tmp_path):
    save(space, tmp_path)
    assert "sigmoid" not in json.loads((tmp_path / "encoder.json").read_text())
    assert load_sigmoid(tmp_path) is load_sigmoid(tmp_path / "nowhere") is None
    encoder = copy.copy(space.encoder)
    encoder.sigmoid = Sigmoid(112.5, -16.25)
    for saved in (encoder, ReducedEncoder(encoder, Reduction.fit(np.eye(4, dtype=np.float32), 2))):
        save(replace(space, encoder=saved), tmp_path)
        assert load_sigmoid(tmp_path) == Sigmoid(112.5, -16.25)
    (tmp_path / "encoder.json").write_text('{"sigmoid": {"scale": 1}}')
    with pytest.raises(UserError, match=r"sigmoid is .*, not a scale and a bias; run `dvc repro"):
        load_sigmoid(tmp_path)


def test_equal_spaces_are_equal_bytes(space, tmp_path):
    for name in ("a", "b"):
        save(space, tmp_path / name)
    for file in ("encoder.json", "alignment.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_empty_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no encoder saved there"):
        TextSpace.load(tmp_path)


@pytest.mark.parametrize(
    "damage", ["torn json", "torn weights", "no weights", "unknown encoder", "unknown field"]
)
def test_a_damaged_folder_is_one_line(space, tmp_path, damage):
    save(space, tmp_path)
    config = json.loads((tmp_path / "encoder.json").read_text())
    if damage == "torn json":
        (tmp_path / "encoder.json").write_text("{")
    elif damage == "torn weights":
        (tmp_path / "alignment.safetensors").write_bytes(b"torn")
    elif damage == "no weights":
        (tmp_path / "alignment.safetensors").unlink()
    else:
        config["encoder" if damage == "unknown encoder" else "params"] = {
            "unknown encoder": "x"
        }.get(damage, {"sze": 1})
        (tmp_path / "encoder.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="dvc repro index") as caught:
        TextSpace.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert "None" not in str(caught.value)


SIDES = {
    "lite0_minilm": 64,
    "open_clip": 32,
    "siglip": 32,
    "tips": 32,
}  # of the encoders in conftest


def images_of(name: str) -> list[np.ndarray]:
    return list(
        np.random.default_rng(3).integers(0, 255, (3, SIDES[name], SIDES[name], 3), dtype=np.uint8)
    )


@pytest.fixture(params=["lite0_minilm", "open_clip", "siglip", "tips", "tokens", "reduced"])
def case(request, build, tiny_clip) -> tuple[TextSpace, list[np.ndarray]]:
    """A space, with random alignments where its encoder needs some, and pictures of its encoder's
    size.
    """
    name = {"tokens": "open_clip", "reduced": "lite0_minilm"}.get(request.param, request.param)
    encoder: Encoder = build(name)
    if request.param == "tokens":
        encoder = OpenClipParams("tiny-test", str(tiny_clip), dense="tokens").build(Runtime())
    if request.param == "reduced":
        encoder = ReducedEncoder(encoder, fit_reduction(encoder, images_of(name), 5))
    features = encoder.features(images_of(name))
    return TextSpace(
        encoder, *random_alignments(encoder, features.pooled, features.dense)
    ), images_of(name)


def random_alignments(encoder: Encoder, *features: np.ndarray) -> list[Alignment | None]:
    if encoder.aligned:
        return [None] * len(features)
    rng = np.random.default_rng(4)
    return [
        Alignment(
            x.mean(tuple(range(x.ndim - 1))),
            rng.uniform(0.5, 2.0, x.shape[-1]).astype(np.float32),
            rng.normal(size=(x.shape[-1], 8)).astype(np.float32),
        )
        for x in features
    ]


def test_every_encoder_has_a_case():
    assert SIDES.keys() == ENCODERS.keys() - {"toy"}


def test_the_head_does_what_project_dense_does_before_it_normalises(case):
    space, images = case
    dense = space.encoder.features(images).dense
    found = space.head()(torch.from_numpy(dense)).numpy()
    np.testing.assert_allclose(normalise(found), space.project_dense(dense), atol=1e-5)
    assert found.shape[:3] == dense.shape[:3]
    assert found.shape[3] == (
        space.dense.weight.shape[1] if space.dense else space.encode(["dog"]).shape[1]
    )


def test_live_features_are_those_of_the_encoder(case):
    space, images = case
    expected, batch = (
        space.encoder.features(images),
        torch.stack([prepared(image) for image in images]),
    )
    live = space.build_picture_encoder()
    dense = live.dense(batch)
    assert (dense.dtype, dense.shape) == (torch.float32, expected.dense.shape)
    scale = np.abs(expected.dense).max()
    np.testing.assert_allclose(dense.numpy() / scale, expected.dense / scale, atol=1e-5)
    found = normalise(live.embed(batch).numpy())
    np.testing.assert_allclose(found, space.project_pooled(expected.pooled), atol=1e-4)


def test_gradients_reach_the_picture_through_embeddings_not_through_dense_features(case):
    space, images = case
    batch = torch.stack([prepared(image) for image in images]).requires_grad_()
    live = space.build_picture_encoder()
    assert not live.dense(batch).requires_grad
    (grad,) = torch.autograd.grad(live.embed(batch)[1].square().sum(), batch)
    assert grad.isfinite().all()
    assert grad.flatten(1).any(1).tolist() == [False, True, False]
    assert live.image is None or not any(p.requires_grad for p in live.image.parameters())


def test_raw_pixels_are_those_before_normalising():
    image = np.random.default_rng(5).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    found = denormalise(prepared(image)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, image, atol=1e-3)
