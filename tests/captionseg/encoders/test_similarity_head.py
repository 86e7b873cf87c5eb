"""Attention by similarity, SCLIP and NACLIP: by hand, and against the block itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from captionseg.encoders.dense_head import DenseHead, HeadConfig
from captionseg.encoders.open_clip import OpenClipParams
from captionseg.encoders.similarity_head import (
    SimilarityHead,
    build_similarity_head,
    measure_nearness,
    weigh,
)
from captionseg.records import UserError
from captionseg.runtime.device import Runtime

FORMS = ("sclip", "naclip")


def test_nearness_of_patches_by_hand():
    """A grid of 2 x 2, and one of a single column: 1 with itself, exp(-distance^2 / 50)."""
    side, diagonal = math.exp(-1 / 50), math.exp(-2 / 50)
    expected = [
        [1, side, side, diagonal],
        [side, 1, diagonal, side],
        [side, diagonal, 1, side],
        [diagonal, side, side, 1],
    ]
    torch.testing.assert_close(measure_nearness(2, 2), torch.tensor(expected))
    column = measure_nearness(3, 1, deviation=1.0)[0]
    torch.testing.assert_close(column, torch.tensor([1.0, math.exp(-0.5), math.exp(-2.0)]))


def softmax(*logits: float) -> list[float]:
    total = sum(map(math.exp, logits))
    return [math.exp(x) / total for x in logits]


def test_weights_by_hand():
    """A class token and two patches, a head of 4 channels: products are halved."""
    query = torch.tensor([[0.0, 0, 0, 0], [2, 0, 0, 0], [0, 2, 0, 0]])[None, None]
    key = torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]])[None, None]
    by_query = [softmax(0, 0, 0), softmax(0, 2, 0), softmax(0, 0, 2)]
    by_key = [softmax(0, 0, 0), softmax(0, 1, 1), softmax(0, 1, 1)]
    found = weigh(query, key, "sclip", grid=(1, 2))[0, 0]
    torch.testing.assert_close(found, torch.tensor(by_query) + torch.tensor(by_key))
    near = math.exp(-1 / 50)
    # the class token is near to nothing
    expected = [softmax(0, 0, 0), softmax(0, 2, 1 + near), softmax(0, 1 + near, 2)]
    torch.testing.assert_close(
        weigh(query, key, "naclip", grid=(1, 2))[0, 0], torch.tensor(expected)
    )


def test_a_head_by_hand():
    """Norms off; the value is the token, its projection twice that, all else is zero."""
    made: Any = SimilarityHead(DenseHead(HeadConfig(2, 2, 4)), 1, "naclip")
    block = made.head.block
    block.norm1 = block.norm2 = made.head.norm = torch.nn.Identity()
    for layer in (made.query, made.key, block.value, block.proj, block.fc1, block.fc2):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    block.value.weight.data.copy_(torch.eye(2))
    block.proj.weight.data.copy_(2 * torch.eye(2))
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [4.0, 4.0]]])
    # keys are zero, so that the place alone decides
    near = math.exp(-1 / 50)
    first, second = softmax(0, 1, near), softmax(0, near, 1)
    expected = [[2 * (w[0] + 4 * w[2]), 2 * (w[1] + 4 * w[2])] for w in (first, second)]
    torch.testing.assert_close(made(tokens, (1, 2)), torch.tensor([[expected]]))
    made.form = "sclip"
    mean = torch.tensor([5 / 3, 5 / 3])  # twice the mean, twice that by the projection
    expected = tokens[:, 1:] + 4 * mean
    torch.testing.assert_close(made(tokens, (1, 2))[0], expected)


def encoder(made: tuple[str, str], dense: Any):
    return OpenClipParams(*made, dense=dense).build(Runtime())


@pytest.mark.parametrize("layers", [{}, {"ls_init_value": 0.5}])
def test_sclip_where_keys_are_queries_is_twice_the_attention_of_the_block(other_clip, layers):
    """softmax(q q') + softmax(q q') is twice softmax(q k') if k is q, which the block computes."""
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    made = encoder(other_clip(f"tiny-twice{len(layers)}", vision_cfg=vision | layers), "joint")
    visual, tokens = made.model.visual, torch.randn(2, 17, 32)
    last = visual.transformer.resblocks[-1]
    for tensor in (last.attn.in_proj_weight, last.attn.in_proj_bias):
        tensor[32:64] = tensor[:32]
    expected = visual.ln_post(last(tokens))[:, 1:] @ visual.proj
    for tensor in (last.attn.in_proj_weight, last.attn.in_proj_bias):
        tensor[64:] /= 2
    found = build_similarity_head(visual, "sclip")(tokens, (4, 4)).flatten(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_features_are_in_the_joint_space_for_pictures_of_any_size(tiny_clip, form):
    made = encoder(("tiny-test", str(tiny_clip)), form)
    joint = encoder(("tiny-test", str(tiny_clip)), "joint")
    pixels = 255.0 * torch.rand(2, 3, 48, 24)
    pooled, dense = made.towers(pixels)
    assert dense.shape == (2, 6, 3, 24)
    torch.testing.assert_close(pooled, joint.towers(pixels)[0])
    assert not torch.allclose(dense, joint.towers(pixels)[1], atol=1e-2)
    assert made.head.config.width == made.head.config.out == 24
    alone = torch.cat([made.towers(picture[None])[1] for picture in pixels])
    torch.testing.assert_close(alone, dense, atol=1e-5, rtol=1e-4)


def test_other_attention_is_one_line(other_clip):
    visual = encoder(other_clip("tiny-other"), "joint").model.visual
    visual.transformer.resblocks[-1].attn = torch.nn.Identity()
    with pytest.raises(UserError, match="sclip needs attention like CLIP's in the last block, not"):
        build_similarity_head(visual, "sclip")
