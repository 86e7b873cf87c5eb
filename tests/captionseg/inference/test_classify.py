"""Whole pictures and classes: which embedding of a model is asked, by hand, and that no picture
knows of another.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from captionseg.inference.classify import classify, embed_picture
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.typed import replace_fields
from tests.captionseg.modeling.conftest import REGION, TEXT, make_inputs, networks  # noqa: F401
from tests.captionseg.modeling.test_models import LIVE, MODELS, make_classes, small_model

VARIANTS = sorted({*MODELS, LIVE})


@pytest.fixture
def classes() -> torch.Tensor:
    return F.normalize(torch.randn(5, TEXT, generator=torch.Generator().manual_seed(1)), dim=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_model_classifies_each_picture_by_itself(variant, networks, make_inputs, tiny_sam3):  # noqa: F811
    model = small_model(variant, networks, tiny_sam3).eval()
    inputs, classes = make_inputs(images=3), F.normalize(make_classes(variant), dim=1)
    with torch.inference_mode():
        found = classify(model, inputs, classes)
        alone = [
            classify(model, inputs.map(lambda x, i=i: x[i : i + 1]), classes) for i in range(3)
        ]
    assert found.shape == (3, 5)
    torch.testing.assert_close(found, torch.cat(alone))
    order = torch.tensor([3, 1, 4, 0, 2])
    with torch.inference_mode():
        torch.testing.assert_close(classify(model, inputs, classes[order]), found[:, order])
    assert found.std(0).min() > 0  # pictures differ


@pytest.mark.parametrize("variant", ["maskclip", "tcl", "code"])
def test_models_on_frozen_features_take_the_encoders_embedding_or_the_mean_of_cells(
    variant,
    networks,  # noqa: F811
    make_inputs,  # noqa: F811
    classes,
):
    model, inputs = small_model(variant, networks).eval(), make_inputs()
    whole = torch.randn(2, TEXT)
    with torch.inference_mode():
        mean = model.segment(inputs, classes).mean((2, 3))
        torch.testing.assert_close(classify(model, inputs, classes), mean)
        texts = model.embed_texts(classes) if variant != "maskclip" else classes
        torch.testing.assert_close(
            classify(model, inputs, classes, whole), F.normalize(whole, dim=1) @ texts.T
        )


@pytest.mark.parametrize("name", ["groupvit", "ovsegmentor"])
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_groups_as_captions_saw_them(name, pool, networks, make_inputs, classes):  # noqa: F811
    """A background threshold and the restriction to the likeliest classes are of pixels, not of
    pictures.
    """
    model, inputs = small_model(name, networks).eval(), make_inputs()
    model.config = replace_fields(
        replace(model.config, pool=pool), {"zero_shot": {"background": 0.9, "top_k": 1}}, "x"
    )
    assert isinstance(model.config.zero_shot, ZeroShot)
    with torch.inference_mode():
        groups, towers = (
            model.towers.vision(None, inputs.regions, inputs.region_mask).groups,
            model.towers,
        )
        texts = towers.embed_classes(classes)
        want = {
            "mean": towers.embed(groups.mean(1)) @ texts.T,
            "max": (towers.embed(groups) @ texts.T).amax(1),
        }[pool]
        torch.testing.assert_close(classify(model, inputs, classes), want)


def test_a_bag_of_regions_forgets_those_that_pad(make_inputs, classes):  # noqa: F811
    torch.manual_seed(0)
    model = SegmentMil(
        SegmentMilConfig(REGION, TEXT, hidden=6, width=4, pool_temperature=0.0)
    ).eval()
    inputs = make_inputs(images=1)
    mask = torch.tensor([[True, False, True, False]])
    with torch.inference_mode():
        cosine = model.region_logits(inputs, classes)[0]
        torch.testing.assert_close(
            classify(model, replace(inputs, region_mask=mask), classes)[0], cosine[::2].amax(0)
        )


@pytest.mark.parametrize("aligned", [True, False])
def test_the_encoders_own_embedding(toy, world, aligned):
    encoder = toy.params(aligned=aligned).build(None)
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    found = embed_picture(SimpleNamespace(), encoder, image)
    if aligned:
        assert found is not None
        np.testing.assert_allclose(found.numpy(), encoder.features([image]).pooled)
    else:
        assert found is None
    assert embed_picture(SimpleNamespace(image_logits=classify), encoder, image) is None
