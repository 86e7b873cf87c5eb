"""Dense features of timm's towers: each token is what the tower makes of it alone."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from captionseg.encoders.open_clip import OpenClip, OpenClipParams, dense_form
from captionseg.encoders.timm_tower import find_pooling, find_width, resize_trunk
from captionseg.records import UserError
from captionseg.runtime.device import Runtime
from tests.captionseg.encoders.timm_towers import KINDS, WIDTH, build_model, write_checkpoint

NAMES = sorted(KINDS)


@pytest.fixture(scope="module")
def encoder():
    """Name of a form -> encoder with such a tower, without a tokenizer."""
    made = {}

    def make(kind: str) -> OpenClip:
        if kind not in made:
            made[kind] = OpenClip(build_model(kind), None, 32, 4, Runtime())
        return made[kind]

    return make


def finish(visual, pooled: torch.Tensor) -> torch.Tensor:
    """What the tower makes of pooled tokens [n, W]."""
    return visual.head(visual.trunk.head(visual.trunk.fc_norm(pooled)))


@pytest.mark.parametrize("kind", NAMES)
def test_pooled_is_the_image_embedding_and_dense_lie_in_its_space(encoder, kind):
    visual, pixels = encoder(kind).model.visual, 255.0 * torch.rand(2, 3, 32, 32)
    pooled, dense = encoder(kind).towers(pixels)
    mean, std = (encoder(kind).__dict__[name][:, None, None] for name in ("mean", "std"))
    torch.testing.assert_close(pooled, visual((pixels / 255.0 - mean) / std))
    width = WIDTH.get(kind, 24)
    assert (pooled.shape, dense.shape) == ((2, width), (2, 4, 4, width))
    assert find_width(visual) == encoder(kind).head.config.out == width
    assert find_pooling(visual) == dense_form(visual) == KINDS[kind][1]


@pytest.mark.parametrize("kind", NAMES)
def test_a_token_alone_is_pooled_to_its_cell_of_the_map(encoder, kind):
    """In a sequence of one token, attention can go nowhere else."""
    visual, pixels = encoder(kind).model.visual, 255.0 * torch.rand(1, 3, 32, 32)
    trunk, seen = visual.trunk, []
    hook = trunk.blocks[-1].register_forward_hook(
        lambda module, args, output: seen.append((args[0], output))
    )
    dense = encoder(kind).towers(pixels)[1][0].flatten(0, 1)
    hook.remove()
    before, after = seen[0]
    skipped = trunk.num_prefix_tokens
    assert before.shape[1] == skipped + 16
    if find_pooling(visual) == "token":
        alone = trunk.blocks[-1](before[0, skipped:, None])[:, 0]
        expected = finish(visual, trunk.norm(alone))
    else:
        tokens = trunk.norm(after)[0, skipped:, None]
        pooled = trunk.attn_pool(tokens)[:, None] if trunk.attn_pool else tokens
        expected = finish(visual, pooled[:, 0])
    torch.testing.assert_close(dense, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["sigmoid", "pe_big", "mlp"])
def test_where_all_tokens_are_the_same_each_is_the_image(encoder, kind):
    """A plain picture, without positions: whatever the pooling weighs, it is the same token."""
    made = copy.deepcopy(encoder(kind))
    made.model.visual.trunk.pos_embed.data.zero_()
    pooled, dense = made.towers(torch.full((1, 3, 32, 32), 90.0))
    for cell in dense.flatten(0, 2):
        torch.testing.assert_close(cell, pooled[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", NAMES)
def test_a_marked_corner_moves_the_cell_there_most(encoder, kind):
    plain = torch.full((1, 3, 32, 32), 120.0)
    marked = plain.clone()
    marked[:, :, :8, -8:] = torch.tensor([255.0, 0.0, 0.0])[:, None, None]
    moved = (encoder(kind).towers(marked)[1] - encoder(kind).towers(plain)[1]).norm(dim=3)[0]
    assert moved.argmax() == 3


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(("height", "width"), [(48, 24), (64, 64), (21, 39)])
def test_pictures_of_any_size_have_a_cell_a_patch(encoder, kind, height, width):
    pixels = 255.0 * torch.rand(2, 3, height, width)
    before = {k: v.clone() for k, v in encoder(kind).model.visual.state_dict().items()}
    pooled, cells = encoder(kind).towers(pixels)
    assert cells.shape[1:3] == (height // 8, width // 8)
    for found, expected in zip(
        encoder(kind).towers(pixels[:, :, : height // 8 * 8, : width // 8 * 8]),
        (pooled, cells),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
    # the tower itself is as it was
    trunk = encoder(kind).model.visual.trunk
    assert (tuple(trunk.patch_embed.img_size), tuple(trunk.patch_embed.grid_size)) == (
        (32, 32),
        (4, 4),
    )
    assert all(torch.equal(v, before[k]) for k, v in trunk.state_dict(prefix="trunk.").items())
    assert encoder(kind).towers(pixels[:, :, :8, :8])[1].shape[1:3] == (1, 1)


@pytest.mark.parametrize("kind", ["sigmoid", "pe", "eva02", "mobile"])
def test_another_size_on_the_fly_is_what_timm_makes_for_that_size(encoder, kind):
    large = copy.deepcopy(encoder(kind))
    large.model.visual.set_input_size((64, 48))
    pixels = 255.0 * torch.rand(2, 3, 64, 48)
    for found, expected in zip(encoder(kind).towers(pixels), large.towers(pixels), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_trunk_of_that_size_is_not_copied(encoder):
    trunk = encoder("pe").model.visual.trunk
    assert resize_trunk(trunk, (32, 32)) is trunk
    resized = resize_trunk(trunk, (16, 48))
    assert resized.blocks[0].attn.qkv.weight is trunk.blocks[0].attn.qkv.weight
    assert len(resized.rope.get_embed()) == 12
    assert len(trunk.rope.get_embed()) == 16


def test_a_picture_smaller_than_a_patch_is_one_line(encoder):
    with pytest.raises(UserError, match="a picture of 40 x 7 pixels is smaller than a patch of th"):
        encoder("sigmoid").towers(torch.zeros(1, 3, 40, 7))


def test_a_model_of_a_sigmoid_loss_knows_its_scale_and_bias(encoder):
    model: Any = build_model("sigmoid", init_logit_scale=math.log(10), init_logit_bias=-10.0)
    sigmoid = OpenClip(model, None, 32, 4, Runtime()).sigmoid
    assert sigmoid is not None
    assert sigmoid == (model.logit_scale.exp().item(), model.logit_bias.item())
    image, text = torch.randn(2, 32), torch.randn(3, 32)
    image, text = (torch.nn.functional.normalize(x, dim=1) for x in (image, text))
    model.encode_image, model.encode_text = (lambda x, normalize: x,) * 2
    torch.testing.assert_close(
        sigmoid.scale * image @ text.T + sigmoid.bias, model.get_logits(image, text)[0]
    )
    assert encoder("pe").sigmoid is None


def test_half_precision_is_near_the_whole(encoder):
    pixels = 255.0 * torch.rand(1, 3, 32, 32)
    for kind in ("eva02", "sigmoid"):
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(kind).towers(pixels)[1].float()
        whole = encoder(kind).towers(pixels)[1]
        assert (half - whole).norm() < 0.05 * whole.norm()


def test_a_checkpoint_is_loaded_and_resized_as_open_clip_does(tmp_path):
    import open_clip

    name, path = write_checkpoint("pe", tmp_path)
    made = OpenClipParams(name, path, size=48).build(Runtime())
    expected: Any = open_clip.create_model(name, pretrained=path, force_image_size=48).eval()
    assert (made.size, made.features([np.zeros((9, 9, 3), np.uint8)]).dense.shape) == (
        48,
        (1, 6, 6, 24),
    )
    pixels = torch.rand(1, 3, 48, 48)
    mean, std = made.mean[:, None, None], made.std[:, None, None]
    torch.testing.assert_close(
        made.towers(255.0 * pixels)[0], expected.visual((pixels - mean) / std)
    )
    with pytest.raises(UserError, match="size: 50 is not a multiple of 8, the patch size of tiny-"):
        OpenClipParams(name, path, size=50).build(Runtime())
    with pytest.raises(UserError, match="tiny-pe is not one of open_clip's own ViTs, so it has no"):
        OpenClipParams(name, path, dense="tokens").build(Runtime())


@pytest.mark.parametrize("change", ["pooling", "class", "positions"])
def test_a_tower_that_pools_in_another_way_has_no_known_form(encoder, change):
    visual = copy.deepcopy(encoder("sigmoid")).model.visual
    if change == "pooling":
        visual.trunk.global_pool = "avgmax"
    elif change == "class":
        visual.trunk.__class__ = type("Other", (type(visual.trunk),), {})
    else:
        visual.trunk.attn_pool.pos_embed = torch.nn.Parameter(torch.zeros(16, 32))
    assert find_pooling(visual) == ""
