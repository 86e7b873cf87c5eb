"""Weights to start from: into the right places, or one line."""

from __future__ import annotations

import json

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from captionseg.encoders.lite0_minilm import load_image_tower
from captionseg.modeling.layers.backbone import Network
from captionseg.modeling.towers.group_encoder import EncoderConfig, GroupEncoder
from captionseg.modeling.weights.pretrained import (
    copy_weights,
    find_timm_twin,
    load_frozen_blocks,
    read_weights,
    resize_grid,
    start_from,
)
from captionseg.modeling.weights.timm_names import rename_for_timm
from captionseg.records import UserError

VIT = {
    "img_size": 32,
    "patch_size": 16,
    "embed_dim": 8,
    "depth": 3,
    "num_heads": 2,
    "num_classes": 0,
}


def vit() -> torch.nn.Module:
    torch.manual_seed(1)
    net = timm.models.VisionTransformer(**VIT)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.2)
    return net.eval()


def encoder(**changes) -> GroupEncoder:
    torch.manual_seed(0)
    return GroupEncoder(
        EncoderConfig(
            **{
                "tokens": "pixels",
                "size": 32,
                "width": 8,
                "heads": 2,
                "depths": [3, 0],
                "group_tokens": [1, 0],
                "groups": [1],
                "patch_norm": False,
                "eps": 1e-6,
                **changes,
            }
        )
    )


def test_a_vit_is_its_blocks_one_after_the_other(tmp_path):
    """Patches, positions and blocks give what the ViT gives, where no class token and no group
    token take part.
    """
    given, image = vit(), torch.randn(2, 3, 32, 32)
    save_file(given.state_dict(), tmp_path / "vit.safetensors")
    ours = encoder(weights=str(tmp_path / "vit.safetensors")).eval()
    start_from(ours)
    x, grid = ours.tokens(image)
    expected = given.patch_embed(image) + given.pos_embed[:, 1:]
    torch.testing.assert_close(x, expected)
    for mine, theirs in zip(ours.stages[0].blocks, given.blocks, strict=True):
        x, expected = mine(x), theirs(expected)
    torch.testing.assert_close(
        ours.norm(x),
        torch.nn.functional.layer_norm(expected, (8,), given.norm.weight, given.norm.bias, 1e-5),
    )
    assert grid == (2, 2)


def test_blocks_are_shared_out_to_the_stages(tmp_path):
    given = vit().state_dict()
    torch.save(
        {
            "teacher": {f"module.backbone.{k}": v for k, v in given.items()}
            | {"head.mlp": torch.ones(2)}
        },
        tmp_path / "dino.pth",
    )
    ours = encoder(depths=[1, 2], weights=str(tmp_path / "dino.pth"))
    start_from(ours)
    for name, block in (("stages.0.blocks.0", "blocks.0"), ("stages.1.blocks.1", "blocks.2")):
        for part in ("attn.qkv.weight", "mlp.fc2.bias", "norm1.weight"):
            assert torch.equal(ours.state_dict()[f"{name}.{part}"], given[f"{block}.{part}"])


def test_positions_are_resized_and_prefix_tokens_dropped():
    given = torch.arange(5.0)[None, :, None]
    assert resize_grid(given, 2)[0, :, 0].tolist() == [1, 2, 3, 4]
    grown = resize_grid(torch.full((1, 5, 3), 2.0), 4)
    torch.testing.assert_close(grown, torch.full((1, 16, 3), 2.0))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_a_backbone_takes_its_own_weights_whatever_head_they_have(tmp_path, name):
    given = timm.create_model(name, pretrained=False, num_classes=7)
    save_file(given.state_dict(), tmp_path / "net.safetensors")
    ours = encoder(backbone=name, size=64, weights=str(tmp_path / "net.safetensors"))
    start_from(ours)
    own, expected = ours.tokens.projection.net.state_dict(), given.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in own.items() if k != "pos_embed")


def test_what_does_not_fit_is_one_line(tmp_path):
    state = vit().state_dict()
    save_file(
        {k: v for k, v in state.items() if not k.startswith("blocks.2")},
        tmp_path / "short.safetensors",
    )
    save_file(
        {
            k: v[:, :4].contiguous() if k == "blocks.0.attn.proj.weight" else v
            for k, v in state.items()
        },
        tmp_path / "narrow.safetensors",
    )
    (tmp_path / "text.safetensors").write_text("nothing")
    torch.save({"a": print}, tmp_path / "code.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    for name, message in {
        "short.safetensors": "does not fit this network: no tensor stages.0.blocks.2",
        "narrow.safetensors": r"stages.0.blocks.0.attn.proj.weight is \[8, 4\], expected \[8, 8\]",
        "text.safetensors": "not a file of weights",
        "code.pth": "could run code",
        "list.pth": "it contains a list, not tensors by name",
        "absent.pth": "no such file of weights",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            start_from(encoder(weights=str(tmp_path / name)))
        assert "\n" not in str(caught.value)
    assert read_weights(tmp_path / "short.safetensors").keys() < state.keys()


def test_the_packaged_weights_are_the_default_encoders():
    ours = encoder(backbone="tf_efficientnet_lite0", size=64, weights="packaged").eval()
    start_from(ours)
    tower = load_image_tower()
    pixels = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    net = ours.tokens.projection.net
    head = net.bn2(
        net.conv_head(
            net.forward_intermediates(
                (pixels.float() - 127.5) / 127.5, indices=1, intermediates_only=True
            )[-1]
        )
    )
    theirs = tower(pixels)[1]
    # another stride and dilation: the same features on average
    pooled = [m.mean((2, 3))[0] for m in (head, theirs)]
    assert torch.nn.functional.cosine_similarity(*pooled, dim=0) > 0.8
    with pytest.raises(UserError, match="packaged are those of backbone: tf_efficientnet_lite0"):
        start_from(encoder(backbone="test_vit", size=64, weights="packaged"))


def clip(patch: int = 32, side: int = 64) -> torch.nn.Module:
    """A small CLIP of open_clip."""
    torch.manual_seed(2)
    vision = {"layers": 2, "width": 64, "head_width": 32, "patch_size": patch, "image_size": side}
    text = {"layers": 1, "width": 8, "heads": 1, "vocab_size": 9, "context_length": 4}
    return open_clip.CLIP(8, vision, text, quick_gelu=True).eval()  # type: ignore[arg-type]


def clip_vit() -> torch.nn.Module:
    """The same ViT as timm has it."""
    return timm.create_model(
        "vit_base_patch32_clip_quickgelu_224",
        pretrained=False,
        num_classes=0,
        img_size=64,
        embed_dim=64,
        depth=2,
        num_heads=2,
    ).eval()


def test_a_tower_of_clip_reads_the_files_of_clip(tmp_path):
    """Its [CLS] after the final norm, projected, is the embedding that open_clip makes."""
    given, net, image = clip(), clip_vit(), torch.randn(2, 3, 64, 64)
    path = tmp_path / "open_clip.safetensors"
    save_file(given.state_dict(), path)
    copy_weights(net, rename_for_timm(read_weights(path), net, str(path)), path)
    with torch.no_grad():
        expected, found = given.visual(image), net.forward_features(image)[:, 0] @ given.visual.proj
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 16}, r"visual.conv1.weight is \[64, 3, 16, 16\], expected \[64, 3, 32, 32\]"),
        ({"side": 96}, r"visual.positional_embedding is \[10, 64\], expected \[1, 5, 64\]"),
    ],
)
def test_what_timm_would_resample_without_a_word_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        rename_for_timm(clip(**changes).state_dict(), clip_vit(), "a.safetensors")


def test_a_tower_refuses_the_weights_of_another(tmp_path):
    path = str(tmp_path / "net.safetensors")
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)
    with pytest.raises(UserError, match="does not fit this network: no tensor cls_token"):
        load_frozen_blocks(Network("test_vit", path))
    with pytest.raises(UserError, match="no such file of weights"):
        load_frozen_blocks(Network("test_vit", str(tmp_path / "none.safetensors")))


def test_files_of_dinov2_have_a_mask_token_more(tmp_path):
    given = timm.create_model("test_vit", pretrained=False).state_dict()
    save_file(given | {"mask_token": torch.zeros(1, 64)}, tmp_path / "dino.safetensors")
    found = load_frozen_blocks(
        Network("test_vit", str(tmp_path / "dino.safetensors"))
    ).net.state_dict()
    assert all(torch.equal(v, given[k]) for k, v in found.items())


def test_files_of_dinov2_with_registers_have_the_position_of_cls():
    net = timm.create_model(
        "vit_small_patch14_reg4_dinov2",
        pretrained=False,
        num_classes=0,
        img_size=28,
        embed_dim=64,
        depth=1,
        num_heads=1,
    )
    given = {k: torch.randn_like(v) for k, v in net.state_dict().items()}
    meta = {k: v for k, v in given.items() if k not in ("reg_token", "pos_embed")}
    meta |= {
        "mask_token": torch.zeros(1, 64),
        "register_tokens": given["reg_token"],
        "pos_embed": torch.cat([torch.ones(1, 1, 64), given["pos_embed"]], 1),
    }
    copy_weights(net, rename_for_timm(meta, net, "a.pth"), "a.pth")
    expected = given | {"cls_token": given["cls_token"] + 1.0}
    assert all(torch.equal(v, expected[k]) for k, v in net.state_dict().items())


def openai_file(path, **more) -> dict[str, torch.Tensor]:
    """A CLIP with what OpenAI's files hold beside the weights; the weights."""
    given = clip(**more).state_dict()
    numbers = {"input_resolution": 64, "context_length": 4, "vocab_size": 9}
    torch.save(given | {k: torch.tensor(v) for k, v in numbers.items()}, path)
    return given


def test_a_tower_of_clip_has_the_activation_of_its_file(tmp_path, monkeypatch):
    """At 057bf04 OpenAI's weights ran with GELU under a name without -quickgelu."""
    config = {
        "embed_dim": 8,
        "vision_cfg": {
            "layers": 2,
            "width": 64,
            "head_width": 32,
            "patch_size": 32,
            "image_size": 64,
        },
        "text_cfg": {},
    }
    configs = {"two": config, "two-quickgelu": config | {"quick_gelu": True}, "one": config}
    monkeypatch.setattr(open_clip, "list_models", lambda: list(configs))
    monkeypatch.setattr(open_clip, "get_model_config", configs.get)
    path = str(tmp_path / "clip.pt")
    openai_file(path)
    for name in ("two", "one"):
        with pytest.raises(
            UserError,
            match=r"OpenAI's files says QuickGELU, but open_clip:(two|one) has GELU; name",
        ):
            load_frozen_blocks(Network(f"open_clip:{name}", path))
    net = load_frozen_blocks(Network("open_clip:two-quickgelu", path)).net.visual
    assert {type(b.mlp.gelu).__name__ for b in net.transformer.resblocks} == {"QuickGELU"}
    save_file(clip().state_dict(), tmp_path / "clip.safetensors")
    silent = str(tmp_path / "clip.safetensors")
    with pytest.raises(
        UserError,
        match=r"unknown whether .*open_clip:two-quickgelu, or open_clip:two with networks",
    ):
        load_frozen_blocks(Network("open_clip:two", silent))
    assert load_frozen_blocks(Network("open_clip:two", silent, activation="gelu"))
    with pytest.raises(
        UserError,
        match="activation: gelu says GELU, but open_clip:two-quickgelu has QuickGELU; name",
    ):
        load_frozen_blocks(Network("open_clip:two-quickgelu", silent, activation="gelu"))


def test_networks_of_timm_know_their_twin():
    assert find_timm_twin("vit_large_patch14_clip_336") == "vit_large_patch14_clip_quickgelu_336"
    assert find_timm_twin("vit_large_patch14_clip_336.laion2b_ft_in12k") == ""
    assert (
        find_timm_twin("vit_base_patch16_clip_quickgelu_224")
        == find_timm_twin("vit_base_patch16_plus_clip_240")
        == ""
    )


def test_a_network_sees_pixels_as_the_file_says(tmp_path):
    save_file(
        timm.create_model("test_vit", pretrained=False).state_dict(), tmp_path / "net.safetensors"
    )
    network = Network("test_vit", str(tmp_path / "net.safetensors"))
    before = load_frozen_blocks(network)
    config = {"architecture": "vit_clip", "pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    after = load_frozen_blocks(network)
    torch.testing.assert_close(after.factor.flatten(), torch.tensor([0.229, 0.224, 0.225]))
    torch.testing.assert_close(after.shift.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert not torch.equal(before.factor, after.factor)


def test_weights_with_nan_are_refused(tmp_path):
    state = vit().state_dict()
    state["blocks.1.attn.qkv.bias"][3] = torch.nan
    save_file(state, tmp_path / "vit.safetensors")
    with pytest.raises(
        UserError, match=r"vit.safetensors: tensor blocks.1.attn.qkv.bias contains NaN"
    ):
        start_from(encoder(weights=str(tmp_path / "vit.safetensors")))
