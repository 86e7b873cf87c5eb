"""What is between dense features and the joint space."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from captionseg.encoders.dense_head import (
    HeadConfig,
    build_alignment_head,
    build_joint_head,
    build_vit_head,
)
from captionseg.encoders.open_clip import OpenClip, OpenClipParams
from captionseg.runtime.device import Runtime

VIT = {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}


def test_an_alignment_by_hand():
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    head = build_alignment_head(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 0.5]), weight)
    assert head.config == HeadConfig(2, 3)
    # standardised 0 0, 2 0, 0 -2, 1 2
    cells = torch.tensor([[[[1.0, 2.0], [5.0, 2.0]], [[1.0, 1.0], [3.0, 3.0]]]])
    assert head(cells).tolist() == [[[[0, 0, 0], [2, 0, 2]], [[0, -2, -2], [1, 2, 3]]]]
    assert head.block(cells)[0, 1].tolist() == [[0, -2], [1, 2]]


def test_a_head_of_the_joint_space_is_the_identity():
    x = torch.randn(2, 3, 4, 8)
    assert torch.equal(build_joint_head(8)(x), x)


def encoders(made: tuple[str, str]) -> list[OpenClip]:
    return [OpenClipParams(*made, dense=dense).build(Runtime()) for dense in ("joint", "tokens")]


CLIPS = {
    "gelu": {"vision_cfg": VIT},
    "quick": {"vision_cfg": VIT, "quick_gelu": True},
    "scaled": {"vision_cfg": VIT | {"ls_init_value": 0.5}},
    "without-norm": {"vision_cfg": VIT | {"no_ln_pre": True, "mlp_ratio": 1.5}},
}


@pytest.mark.parametrize("kind", CLIPS)
def test_the_head_of_a_vit_makes_joint_features_of_its_tokens(other_clip, pictures, kind):
    made = other_clip(f"tiny-{kind}", **CLIPS[kind])
    joint, tokens = encoders(made)
    expected, given = joint.features(pictures), tokens.features(pictures)
    assert tokens.head.config == HeadConfig(
        32, 24, 48 if kind == "without-norm" else 128, kind == "quick"
    )
    assert given.dense.shape == (3, 4, 4, 32)
    np.testing.assert_array_equal(given.pooled, expected.pooled)
    np.testing.assert_allclose(
        tokens.head(torch.from_numpy(given.dense)), expected.dense, atol=1e-5, rtol=1e-5
    )


def test_a_head_is_frozen_and_changing_it_leaves_the_tower_alone(other_clip):
    _, tokens = encoders(other_clip("tiny-copied", vision_cfg=VIT | {"ls_init_value": 0.5}))
    before = {name: value.clone() for name, value in tokens.model.state_dict().items()}
    mean, scale, weight = torch.zeros(4), torch.ones(4), torch.eye(4)
    for head in (
        tokens.head,
        build_vit_head(tokens.model.visual),
        build_alignment_head(mean, scale, weight),
    ):
        for value in head.state_dict().values():
            value += 1.0
        assert not any(p.requires_grad for p in head.parameters())
    assert all(
        torch.equal(value, before[name]) for name, value in tokens.model.state_dict().items()
    )
    assert (mean.tolist(), scale.tolist(), weight.tolist()) == (
        [0] * 4,
        [1] * 4,
        torch.eye(4).tolist(),
    )


def test_a_tower_is_frozen_and_leaves_its_head_alone_when_it_is_changed(other_clip):
    _, tokens = encoders(other_clip("tiny-tower", vision_cfg=VIT))
    before = {name: value.clone() for name, value in tokens.head.state_dict().items()}
    for parameter in tokens.model.parameters():
        assert not parameter.requires_grad
        parameter.data += 1.0
    assert all(torch.equal(value, before[name]) for name, value in tokens.head.state_dict().items())
