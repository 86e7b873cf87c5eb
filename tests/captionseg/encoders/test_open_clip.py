"""open_clip's encoder with a tiny random model: its space, its sizes, and what goes wrong."""

from __future__ import annotations

import copy
import json

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from captionseg.encoders.encoder import normalise
from captionseg.encoders.open_clip import OpenClipParams, resize_tower
from captionseg.grids import squash
from captionseg.index_params import IndexParams
from captionseg.records import UserError
from captionseg.runtime.device import Runtime


def refused(message: str, **params) -> None:
    with pytest.raises(UserError, match=message) as caught:
        OpenClipParams(**params).build(Runtime())
    assert "\n" not in str(caught.value)


def test_pooled_is_the_image_embedding(build, pictures):
    encoder = build("open_clip")
    pixels = (
        torch.from_numpy(np.stack([squash(p, 32) for p in pictures])).permute(0, 3, 1, 2) / 255.0
    )
    mean, std = (
        torch.tensor(v)[:, None, None]
        for v in (encoder.model.visual.image_mean, encoder.model.visual.image_std)
    )
    with torch.inference_mode():
        expected = encoder.model.encode_image((pixels - mean) / std).numpy()
    out = encoder.features(pictures)
    np.testing.assert_allclose(out.pooled, normalise(expected), atol=1e-5)
    np.testing.assert_array_equal(out.pooled, out.descriptor)


def pixels_of(encoder, pictures) -> torch.Tensor:
    visual = encoder.model.visual
    pixels = (
        torch.from_numpy(np.stack([squash(p, encoder.size) for p in pictures])).permute(0, 3, 1, 2)
        / 255.0
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in (visual.image_mean, visual.image_std))
    return (pixels - mean) / std


def test_dense_are_patches_that_attend_to_themselves_alone(build, pictures):
    """The tower itself, its last attention masked but for the diagonal."""
    encoder = build("open_clip")
    visual, pixels = encoder.model.visual, pixels_of(encoder, pictures)
    seen = []
    hook = visual.transformer.resblocks[-1].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    with torch.inference_mode():
        visual(pixels)
        hook.remove()
        x = seen[0]
        mask = torch.full((x.shape[1], x.shape[1]), -torch.inf).fill_diagonal_(0.0)
        tokens = (
            visual.ln_post(visual.transformer.resblocks[-1](x, attn_mask=mask))[:, 1:] @ visual.proj
        )
    dense = encoder.features(pictures).dense
    assert dense.shape == (3, 4, 4, 24)
    np.testing.assert_allclose(dense.reshape(3, 16, 24), tokens.numpy(), atol=1e-5)


RESNET = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def test_a_resnet_by_the_values_of_its_pooling(tmp_path, pictures):
    (tmp_path / "tiny-resnet.json").write_text(json.dumps(RESNET))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-resnet").state_dict(), tmp_path / "weights.pt")
    encoder = OpenClipParams("tiny-resnet", str(tmp_path / "weights.pt")).build(Runtime())
    out = encoder.features(pictures)
    assert (out.dense.shape, out.pooled.shape) == ((3, 2, 2, 24), (3, 24))
    pool = encoder.model.visual.attnpool
    # one cell alone, pooled without positions: it can attend to nothing else
    with torch.inference_mode():
        maps = encoder.model.visual.forward_intermediates(pixels_of(encoder, pictures), indices=1)
        cell = maps["image_intermediates"][-1][:, :, 1, 0]
        alone = pool.c_proj(pool.v_proj(cell))
    np.testing.assert_allclose(out.dense[:, 1, 0], alone.numpy(), atol=1e-5)


def test_a_resnet_has_no_tokens(tmp_path):
    made = tmp_path / "tiny-resnet-tokens.json", tmp_path / "weights.pt"
    made[0].write_text(json.dumps(RESNET))
    open_clip.add_model_config(tmp_path)
    torch.save(open_clip.create_model("tiny-resnet-tokens").state_dict(), made[1])
    refused(
        "open_clip.dense: tiny-resnet-tokens is not a ViT, so it has no tokens; use joint",
        model="tiny-resnet-tokens",
        pretrained=str(made[1]),
        dense="tokens",
    )


def test_a_tower_without_dense_features_is_one_line(tmp_path):
    tower = {"image_size": 64, "timm_model_name": "test_convnext", "timm_model_pretrained": False}
    config = RESNET | {"vision_cfg": tower}
    (tmp_path / "tiny-timm.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    torch.save(open_clip.create_model("tiny-timm").state_dict(), tmp_path / "weights.pt")
    refused(
        "tiny-timm has no dense features in its joint space; use a ViT",
        model="tiny-timm",
        pretrained=str(tmp_path / "weights.pt"),
    )


def test_another_size_of_the_input(tiny_clip, pictures):
    encoder = OpenClipParams("tiny-test", str(tiny_clip), size=48).build(Runtime())
    assert encoder.features(pictures).dense.shape == (3, 6, 6, 24)


@pytest.mark.parametrize("dense", ["joint", "tokens"])
@pytest.mark.parametrize(("height", "width"), [(48, 32), (64, 64), (16, 24), (44, 39)])
def test_pictures_of_any_size_have_a_cell_a_patch(tiny_clip, dense, height, width):
    encoder = OpenClipParams("tiny-test", str(tiny_clip), dense=dense).build(Runtime())
    pixels = 255.0 * torch.rand(2, 3, height, width)
    pooled, cells = encoder.towers(pixels)
    assert (pooled.shape, cells.shape[:3]) == ((2, 24), (2, height // 8, width // 8))
    assert pooled.isfinite().all()
    alone = torch.cat([encoder.towers(picture[None])[1] for picture in pixels])
    torch.testing.assert_close(alone, cells, atol=1e-5, rtol=1e-4)


def test_a_position_that_says_its_column_says_it_in_more_rows_too(build):
    visual = copy.deepcopy(build("open_clip").model.visual)
    visual.positional_embedding.data[1:] = torch.arange(4.0).repeat(4)[:, None]
    found = resize_tower(visual, (48, 32)).positional_embedding
    torch.testing.assert_close(found[1:], torch.arange(4.0).repeat(6)[:, None].expand(24, 32))
    assert torch.equal(found[0], visual.positional_embedding[0])
    assert resize_tower(visual, (32, 32)) is visual


def test_another_size_on_the_fly_is_what_open_clip_loads_for_that_size(tiny_clip):
    small, large = (
        OpenClipParams("tiny-test", str(tiny_clip), size=size).build(Runtime())
        for size in (None, 64)
    )
    pixels = 255.0 * torch.rand(2, 3, 64, 64)
    before = small.model.visual.positional_embedding.clone()
    for found, expected in zip(small.towers(pixels), large.towers(pixels), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(small.model.visual.positional_embedding, before)
    assert (small.model.visual.grid_size, large.model.visual.grid_size) == ((4, 4), (8, 8))


def test_a_safetensors_checkpoint(tiny_clip, tmp_path, build, pictures):
    state = {k: v.contiguous() for k, v in torch.load(tiny_clip, weights_only=True).items()}
    save_file(state, tmp_path / "weights.safetensors")
    encoder = OpenClipParams("tiny-test", str(tmp_path / "weights.safetensors")).build(Runtime())
    np.testing.assert_allclose(
        encoder.features(pictures).pooled, build("open_clip").features(pictures).pooled, atol=1e-6
    )


def test_the_section_builds_it(tiny_clip):
    params = IndexParams(
        encoder="open_clip", device="cpu", open_clip=OpenClipParams("tiny-test", str(tiny_clip))
    )
    assert params.build().aligned


def test_a_model_that_open_clip_does_not_have():
    refused("open_clip has no 'ViT-Q-99'", model="ViT-Q-99")


def test_a_tag_that_the_model_does_not_have():
    refused(r"no tag 'opnai' for ViT-B-16 \(tags: openai", model="ViT-B-16", pretrained="opnai")


@pytest.mark.parametrize("name", ["nowhere.pt", "folder/nowhere"])
def test_a_checkpoint_that_is_not_there(tiny_clip, tmp_path, name):
    refused("no such file: .*nowhere", model="tiny-test", pretrained=str(tmp_path / name))


def test_a_checkpoint_of_another_model(tiny_clip, tmp_path):
    torch.save({"visual.proj": torch.zeros(2, 2)}, tmp_path / "other.pt")
    refused(
        "other.pt does not load into tiny-test",
        model="tiny-test",
        pretrained=str(tmp_path / "other.pt"),
    )


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_checkpoint_that_is_torn(tiny_clip, tmp_path, suffix):
    (tmp_path / f"torn.{suffix}").write_bytes(tiny_clip.read_bytes()[:1000])
    refused("torn.* does not load", model="tiny-test", pretrained=str(tmp_path / f"torn.{suffix}"))


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('a checkpoint ran code')",)


def test_a_checkpoint_cannot_run_code(tiny_clip, tmp_path):
    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    refused("evil.pt does not load", model="tiny-test", pretrained=str(tmp_path / "evil.pt"))
