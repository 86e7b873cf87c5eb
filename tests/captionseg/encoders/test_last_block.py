"""The last block in its parts: by its own attention it is the block, by values alone MaskCLIP."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from captionseg.encoders.encoders import ATTENDING
from captionseg.encoders.last_block import (
    Attended,
    AttendingEncoder,
    Mixed,
    find_attending,
    split_clip_block,
)
from captionseg.encoders.open_clip import OpenClip, dense_form
from captionseg.encoders.reduction import ReducedEncoder, Reduction
from captionseg.encoders.timm_tower import pool_each, split_timm_block
from captionseg.records import UserError
from captionseg.runtime.device import Runtime
from tests.captionseg.encoders.timm_towers import KINDS, build_model

TOWERS = sorted(KINDS)


def attend_as_ever(attended: Attended) -> Mixed:
    """softmax(q k' / sqrt(d)) v."""
    query, key, value, grid = attended
    weights = (query @ key.transpose(2, 3) / query.shape[3] ** 0.5).softmax(3)
    return Mixed(weights @ value, grid)


def take_value(attended: Attended) -> Mixed:
    return Mixed(attended.value, attended.grid)


@pytest.fixture(scope="module")
def encoder(build):
    """Name of an encoder, or form of a tower of timm -> encoder."""
    made: dict[str, Any] = {}

    def make(name: str) -> Any:
        if name not in made and name in KINDS:
            made[name] = OpenClip(build_model(name), None, 32, 4, Runtime())
        return made.get(name) or build(name)

    return make


def see_last_output(encoder: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Cells of what the last block of a tower of open_clip returns, each finished by itself."""
    visual, seen = encoder.model.visual, []
    vit = dense_form(visual) == "vit"
    last = visual.transformer.resblocks[-1] if vit else visual.trunk.blocks[-1]
    hook = last.register_forward_hook(lambda module, args, output: seen.append(output))
    encoder.towers(pixels)
    hook.remove()
    if vit:
        return visual.ln_post(seen[0])[:, 1:] @ visual.proj
    return pool_each(visual, visual.trunk.norm(seen[0])[:, visual.trunk.num_prefix_tokens :])


@pytest.mark.parametrize("name", [*ATTENDING, *TOWERS])
def test_with_its_own_attention_it_is_the_block(encoder, name):
    """Registers, rotary positions, scales and norms of either kind among them, on 6 x 3 patches."""
    made, pixels = encoder(name), 255.0 * torch.rand(2, 3, 48, 24)
    with torch.inference_mode():
        found = made.attend(pixels, attend_as_ever, residual=True)
        if name in ("siglip", "tips"):  # whose dense features are those of the last block as it is
            expected = made.towers(pixels)[1]
        else:
            expected = see_last_output(made, pixels).unflatten(1, (6, 3))
    assert found.shape[1:3] == (6, 3)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["open_clip", "eva01", "eva02", "eva02_e", "mobile", "registers"])
def test_with_values_alone_it_is_maskclip(encoder, name):
    made, pixels = encoder(name), 255.0 * torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        found = made.attend(pixels, take_value, residual=True)
        torch.testing.assert_close(found, made.towers(pixels)[1], atol=2e-5, rtol=1e-4)
        alone = made.attend(pixels, take_value, residual=False)
    assert not torch.allclose(alone, found, atol=1e-2)


@pytest.mark.parametrize("name", [*ATTENDING, "pe", "registers"])
def test_cells_of_another_grid(encoder, name):
    """Without a residual any number of cells may leave the attention."""

    def repeat(attended: Attended) -> Mixed:
        return Mixed(attended.value[:, :, -4:].repeat(1, 1, 2, 1), (2, 4))

    with torch.inference_mode():
        found = encoder(name).attend(255.0 * torch.rand(1, 3, 32, 32), repeat, residual=False)
    assert found.shape[1:3] == (2, 4)
    assert torch.equal(found[:, 0], found[:, 1])


def test_a_reduction_is_left_aside_and_other_encoders_are_one_line(build):
    made: Any = build("open_clip")
    reduction = Reduction(np.zeros(24, np.float32), np.eye(24, 3, dtype=np.float32))
    assert find_attending(ReducedEncoder(made, reduction), "sclip") is made
    with pytest.raises(UserError, match=r"model naclip replaces .* and Lite0MiniLM has none; use"):
        find_attending(build("lite0_minilm"), "naclip")
    assert all(isinstance(build(name), AttendingEncoder) for name in ATTENDING)


def test_other_attention_is_one_line(build):
    visual: Any = copy.deepcopy(build("open_clip").model.visual)
    visual.transformer.resblocks[-1].attn = torch.nn.Identity()
    with pytest.raises(UserError, match="last block has Identity, which cannot be replaced"):
        split_clip_block(visual)
    tower: Any = build_model("registers").visual
    tower.trunk.blocks[-1].attn.gate = torch.nn.Identity()
    with pytest.raises(UserError, match="last block has Attention, which"):
        split_timm_block(tower)
    tower.trunk.blocks[-1] = torch.nn.Module()
    tower.trunk.blocks[-1].attn = tower.trunk.blocks[0].attn
    with pytest.raises(UserError, match="last block has Module, which"):
        split_timm_block(tower)
