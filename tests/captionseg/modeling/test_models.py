"""What every member of MODELS must do."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
import torch

from captionseg.encoders.dense_head import HeadConfig
from captionseg.encoders.encoder import Encoder
from captionseg.modeling.models import MODELS
from captionseg.modeling.segmenter import Sizes
from captionseg.modeling.weights import saved
from captionseg.records import UserError
from captionseg.typed import replace_fields
from tests.captionseg.modeling.conftest import CONCEPTS, DENSE, REGION, TEXT, tiny_tower
from tests.tiny_sam3 import CONTEXT, WIDTH

LIVE = "use, live"
"""The model `use` with towers of its own."""

TRAINED = sorted({*MODELS, LIVE} - {"maskclip", "sam3"})


@pytest.fixture(params=sorted({*MODELS, LIVE}))
def variant(request) -> str:
    return request.param


@pytest.fixture
def name(variant) -> str:
    return variant.split(",")[0]


@pytest.fixture(params=TRAINED)
def trained(request, networks):
    """A model that learns."""
    return small_model(request.param, networks)


@pytest.fixture
def model(variant, networks, tiny_sam3):
    return small_model(variant, networks, tiny_sam3)


@pytest.fixture
def classes(name) -> torch.Tensor:
    return make_classes(name)


def make_classes(name: str) -> torch.Tensor:
    """Five embeddings of classes; for SAM 3 the features of all tokens, and the factor 1."""
    if name == "sam3":
        return torch.cat([torch.randn(5, CONTEXT * WIDTH), torch.ones(5, 1)], 1)
    return torch.randn(5, TEXT)


def without_dropout(config) -> dict:
    """Changes of a config, and of those inside it, that leave no dropout."""
    changes: dict = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = without_dropout(value)
        elif field.name == "dropout":
            changes[field.name] = 0.0
    return changes


def small_model(variant: str, networks, sam3: str = ""):
    """Small, without dropout, its weights seeded."""
    name = variant.split(",")[0]
    config_class, module_class = MODELS[name]
    small: dict = {"hidden": 10, "width": 8} if name == "segment_mil" else {}
    if name in ("groupvit", "ovsegmentor"):
        small = {"towers": {"encoder": {"width": 8}, "hidden": 10, "embedding": 8}}
    tcl = {
        "noise": 0.0,
        "bias": 0.0,
        "text_adapter": name == "tcl",
        "grounder": {"adapter": 10, "factor": 2},
    }
    if name in ("tcl", "code"):
        small = {"tcl": tcl, "words": {"heads": 2}} if name == "code" else tcl
    if name == "sam3":
        small = {"weights": sam3, "picture": 28, "batch": 2, "zero_shot": {"background": None}}
    if variant == LIVE:
        small = {"networks": [vars(network) for network in networks], "crop": 64, "cell": 16}
    torch.manual_seed(0)
    sizes = Sizes(REGION, TEXT, CONCEPTS, TEXT, HeadConfig(DENSE, TEXT))
    config = replace_fields(config_class(), small, "small")
    config = replace_fields(config, without_dropout(config), "small")
    model = module_class(config.with_sizes(sizes))
    if name == "code":
        model.attach(Mock(spec=Encoder, text_tower=tiny_tower()))
    if name in ("tcl", "code"):  # at the start gates hide what is behind them
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def sizes_in(values: dict, *above: str) -> Iterator[tuple[str, ...]]:
    """Paths of the whole numbers of a config."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from sizes_in(value, *above, key)
        elif type(value) is int:
            yield (*above, key)


def of_other_shape(model, name: str):
    """The config of a model with one size changed, so that its weights have other shapes."""
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    for *above, key in sizes_in(dataclasses.asdict(model.config)):
        old = functools.reduce(getattr, [*above, key], model.config)
        change = functools.reduce(lambda inner, outer: {outer: inner}, above[::-1], {key: old + 1})
        with contextlib.suppress(Exception):  # a size that cannot be changed alone
            config = replace_fields(model.config, change, "config")
            changed = MODELS[name][1](config).state_dict()
            if any(changed[k].shape != shapes[k] for k in shapes.keys() & changed.keys()):
                return config
    raise AssertionError(f"{name}: no field of its config decides a shape")


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward(retain_graph=True)
    learnt = {k: p for k, p in model.named_parameters() if p.requires_grad}
    return {k: torch.zeros_like(p) if p.grad is None else p.grad.clone() for k, p in learnt.items()}


def test_losses_are_finite_scalars_and_reach_every_parameter(trained, make_batch):
    losses = trained.losses(trained(make_batch(drawn=[3, 3, 2, 1, 0, 3, 3, 3])))
    assert losses
    assert all(value.ndim == 0 and torch.isfinite(value) for value in losses.values())
    for key, gradient in gradients(trained, sum(losses.values())).items():
        assert torch.isfinite(gradient).all(), key
        assert gradient.abs().max() > 0, key


@pytest.mark.parametrize("drawn", [[3] * 8, [3, 2, 1, 3, 1, 0, 1, 2], [3, 3, 3, 3, 0, 0, 0, 0]])
@pytest.mark.parametrize("world", [2, 4])
def test_the_loss_of_eight_is_the_mean_over_ranks(trained, make_batch, ranks, world, drawn):
    """Values and gradients of each loss, also where one rank has fewer texts, or none."""
    batch = make_batch(drawn=drawn)
    alone = trained.losses(trained(batch))
    of_ranks = ranks(world).losses(trained, batch)
    for key, value in alone.items():
        together = torch.stack([losses[key] for losses in of_ranks]).mean()
        torch.testing.assert_close(together, value)
        expected, found = gradients(trained, value), gradients(trained, together)
        assert found.keys() == expected.keys()
        for parameter, gradient in expected.items():
            torch.testing.assert_close(
                found[parameter],
                gradient,
                rtol=2e-5,
                atol=1e-5,
                msg=lambda m, p=parameter, k=key: f"{k}, {p}: {m}",
            )


def test_order_of_images_does_not_matter(trained, make_batch):
    batch = make_batch(drawn=[3, 2, 1, 3, 3, 3, 1, 2])
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    shuffled = batch.map(lambda tensor: tensor[order])
    first, second = trained.losses(trained(batch)), trained.losses(trained(shuffled))
    for key in first:
        torch.testing.assert_close(first[key], second[key])


def test_padded_regions_change_nothing(trained, make_batch):
    batch = make_batch()
    more = torch.randn(8, 4, REGION)
    mask = torch.cat([batch.region_mask, torch.zeros(8, 4, dtype=torch.bool)], 1)
    padded = dataclasses.replace(
        batch, regions=torch.cat([batch.regions, more], 1), region_mask=mask
    )
    first, second = trained.losses(trained(batch)), trained.losses(trained(padded))
    for key in first:
        torch.testing.assert_close(first[key], second[key])


def test_training_on_one_batch_lowers_the_loss(trained, make_batch):
    batch = make_batch()
    optimiser = torch.optim.Adam(trained.parameters(), lr=1e-2)
    seen = []
    for _ in range(30):
        loss = sum(trained.losses(trained(batch)).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.75 * seen[0]


def test_mask_logits_of_the_size_asked_for(model, classes, make_inputs):
    logits = model.eval().segment(make_inputs(images=2, size=(9, 13)), classes)
    assert logits.shape == (2, 5, 9, 13)
    assert torch.isfinite(logits).all()


def test_labels_are_the_classes_of_largest_logit(model, classes, make_inputs):
    inputs = make_inputs(images=2, size=(9, 13))
    assert torch.equal(
        model.eval().label(inputs, classes), model.segment(inputs, classes).argmax(1)
    )


def test_an_image_does_not_know_its_batch_nor_a_class_the_others(model, classes, make_inputs):
    inputs = make_inputs(images=3)
    together = model.eval().segment(inputs, classes)
    alone = inputs.map(lambda tensor: tensor[1:2])
    torch.testing.assert_close(model.segment(alone, classes[2:3])[0, 0], together[1, 2])


def test_what_is_saved_is_what_is_loaded(model, name, classes, make_inputs, tmp_path):
    saved.save(tmp_path, name, model, {"prompts": "simple"})
    again = saved.load(tmp_path)
    assert (again.name, again.context) == (name, {"prompts": "simple"})
    assert again.model.config == model.config
    assert not again.model.training
    inputs = make_inputs()
    assert torch.equal(again.model.segment(inputs, classes), model.eval().segment(inputs, classes))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_config_that_does_not_fit_the_weights_is_one_line(model, name, tmp_path):
    saved.save(tmp_path, name, model, {})
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    changes = [{"config": {"no_such_field": 1}}, {"model": "no_such_model"}]
    if name != "sam3":  # whose weights stay where they are, with their own config
        changes.append({"config": dataclasses.asdict(of_other_shape(model, name))})
    for change in changes:
        path.write_text(json.dumps(config | change))
        with pytest.raises(
            UserError, match=r"not a model of this version of captionseg|does not fit a"
        ) as caught:
            saved.load(tmp_path)
        assert "\n" not in str(caught.value)
