"""Patch features of DINO, DINOv2 and DINOv3 in small: parity with timm's own forward pass."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import LayerNorm
from timm.models.eva import _create_eva
from timm.models.vision_transformer import _create_vision_transformer
from torch.nn import functional as F

from captionseg.modeling.layers.backbone import Network
from captionseg.modeling.towers.foundation import FoundationTower
from captionseg.records import UserError

SIZE: dict[str, Any] = {"img_size": 56, "embed_dim": 32, "depth": 2, "num_heads": 2}
# as timm builds its networks of these names
DINO: dict[str, Any] = {"patch_size": 8}
DINOV2: dict[str, Any] = {
    "patch_size": 14,
    "init_values": 0.5,
    "reg_tokens": 4,
    "no_embed_class": True,
}
DINOV3: dict[str, Any] = {
    "patch_size": 16,
    "qkv_bias": False,
    "init_values": 0.5,
    "rope_type": "dinov3",
    "rope_temperature": 100,
    "rope_rotate_half": True,
    "use_rot_pos_emb": True,
    "use_abs_pos_emb": False,
    "num_reg_tokens": 4,
    "use_fc_norm": False,
    "norm_layer": functools.partial(LayerNorm, eps=1e-5),
}
KINDS = {
    "tiny_dino": (_create_vision_transformer, DINO, 1),
    "tiny_dinov2": (_create_vision_transformer, DINOV2, 5),
    "tiny_dinov3": (_create_eva, DINOV3, 5),
}


@pytest.fixture
def make_tower(tmp_path):
    """name -> the tower with random weights, and timm's network."""

    def make(name: str) -> tuple[FoundationTower, Any]:
        build, settings, _ = KINDS[name]

        def entry(pretrained: bool = False, **kwargs):
            known = {k: v for k, v in kwargs.items() if "pretrained_cfg" not in k}
            return build("test_vit", **SIZE | settings | {"dynamic_img_size": True} | known)

        entry.__name__ = name
        if not timm.is_model(name):
            timm.models.register_model(entry)
        torch.manual_seed(0)
        net: Any = timm.create_model(name, num_classes=0).eval()
        for parameter in net.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        save_file(net.state_dict(), tmp_path / "weights.safetensors")
        return FoundationTower(Network(name, str(tmp_path / "weights.safetensors"))), net

    return make


@pytest.mark.parametrize("name", KINDS)
def test_cells_are_timms_patches_after_the_norm_without_class_token_and_registers(make_tower, name):
    tower, net = make_tower(name)
    patch, prefix = KINDS[name][1]["patch_size"], KINDS[name][2]
    image = torch.randn(2, 3, 4 * patch, 6 * patch)
    found = tower(image)
    seen = net.pretrained_cfg
    mean, std = (torch.tensor(seen[key])[:, None, None] for key in ("mean", "std"))
    imagenet = [
        torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    ]
    with torch.no_grad():
        tokens = net.forward_features((image * imagenet[1] + imagenet[0] - mean) / std)
    assert net.num_prefix_tokens == prefix
    assert tokens.shape[1] == prefix + 24
    expected = tokens[:, prefix:].mT.unflatten(2, (4, 6))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_pictures_of_other_sizes_are_resized_to_the_nearest_multiple_of_a_patch(make_tower):
    """Of 48 x 20 pixels there are 3 x 1 patches of 14: sides of 42 and 14."""
    tower, _ = make_tower("tiny_dinov2")
    image = torch.randn(1, 3, 48, 20)
    smaller = F.interpolate(image, (42, 14), mode="bilinear", antialias=True)
    assert tower(image).shape == (1, 32, 3, 1)
    torch.testing.assert_close(tower(image), tower(smaller))
    assert tower(torch.randn(1, 3, 3, 4)).shape == (1, 32, 1, 1)


def test_wrong_networks_and_weights_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="without blocks: its last map is used"):
        FoundationTower(Network("test_vit", "x", 2))
    with pytest.raises(UserError, match="nowhere"):
        FoundationTower(Network("test_vit", str(tmp_path / "nowhere.pt"))).load()
