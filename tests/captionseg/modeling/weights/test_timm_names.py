"""Files of DINOv3 and SigLIP in the layouts of transformers, Meta and open_clip, as towers: what a
tower gives is what the library of the file gives, on pictures of other sizes too.
"""

from __future__ import annotations

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import DINOv3ViTConfig, DINOv3ViTModel, SiglipVisionConfig, SiglipVisionModel

from captionseg.grids import MEAN, STD
from captionseg.modeling.layers.backbone import BackboneMaps, Network
from captionseg.modeling.towers.frozen_towers import load_tower
from captionseg.modeling.weights.pretrained import load_frozen_blocks, start_backbone
from captionseg.records import UserError
from tests.captionseg.modeling import tiny_towers  # noqa: F401 (registers them)

SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}


def scatter(model):
    """Random weights of every kind, so that none can be left out."""
    torch.manual_seed(0)
    for weight in model.parameters():
        weight.data = weight.data + 0.1 * torch.randn_like(weight)
    return model.eval()


def normalise(pixels, mean=MEAN, std=STD):
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.fixture(scope="module")
def dinov3(tmp_path_factory):
    """A DINOv3 of transformers, and its file."""
    config = DINOv3ViTConfig(**SHAPE, intermediate_size=128, num_register_tokens=4)
    folder, model = tmp_path_factory.mktemp("dinov3"), scatter(DINOv3ViTModel(config))
    model.save_pretrained(folder)
    return model, str(folder / "model.safetensors")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """The image tower of a SigLIP of transformers, and its file."""
    form = {"intermediate_size": 64, "image_size": 28, "patch_size": 14, "hidden_act": "gelu"}
    config = SiglipVisionConfig(**SHAPE, **form)
    folder, model = tmp_path_factory.mktemp("siglip"), scatter(SiglipVisionModel(config))
    model.save_pretrained(folder)
    return model, str(folder / "model.safetensors")


@pytest.mark.parametrize("size", [(48, 80), (64, 64)])
def test_a_dinov3_of_transformers_gives_the_same_features(dinov3, size):
    """Class and register tokens are in no map; rotary positions are those of the picture's size."""
    model, path = dinov3
    pixels = torch.rand(2, 3, *size)
    seen = load_tower(Network("tiny_dinov3_qkvb", path, blocks=2)).on(pixels)(normalise(pixels))
    with torch.no_grad():
        out = model(normalise(pixels), output_hidden_states=True)
    grid = (size[0] // 16, size[1] // 16)
    torch.testing.assert_close(seen.cls, out.pooler_output, rtol=0, atol=1e-5)
    final = out.last_hidden_state[:, 5:].unflatten(1, grid)
    torch.testing.assert_close(seen.final, final, rtol=0, atol=1e-5)
    assert [tuple(x.shape) for x in seen.maps] == [(2, *grid, 32)] * 2
    before = out.hidden_states[2][:, 5:].unflatten(1, grid)
    torch.testing.assert_close(seen.maps[0], before, rtol=0, atol=1e-5)


def test_a_siglip_of_transformers_gives_the_same_features(siglip):
    """The vector of a picture is what the attention pooling gives."""
    model, path = siglip
    pixels = torch.rand(2, 3, 28, 28)
    seen = load_frozen_blocks(Network("tiny_siglip", path, blocks=1))(normalise(pixels))
    with torch.no_grad():
        out = model(normalise(pixels, (0.5,) * 3, (0.5,) * 3))
    torch.testing.assert_close(seen.cls, out.pooler_output, rtol=0, atol=1e-5)
    final = out.last_hidden_state.unflatten(1, (2, 2))
    torch.testing.assert_close(seen.final, final, rtol=0, atol=1e-5)


def test_positions_are_resized_to_the_picture_as_timm_does(siglip):
    tower = load_frozen_blocks(Network("tiny_siglip", siglip[1]))
    small = tower.net.state_dict()
    net = timm.create_model("tiny_siglip", num_classes=0, img_size=(56, 84)).eval()
    position = timm.layers.resample_abs_pos_embed(
        small["pos_embed"], new_size=[4, 6], num_prefix_tokens=0
    )
    net.load_state_dict(small | {"pos_embed": position})
    pixels = torch.rand(1, 3, 56, 84)
    with torch.no_grad():
        expected = net.forward_features(normalise(pixels, (0.5,) * 3, (0.5,) * 3))
    seen = tower(normalise(pixels)).final
    torch.testing.assert_close(seen, expected.unflatten(1, (4, 6)), rtol=0, atol=1e-5)


def test_metas_dinov3_is_converted_by_timm(dinov3, tmp_path, capsys):
    """Registers, scales of layers and joined projections have other names there."""
    tower = load_frozen_blocks(Network("tiny_dinov3_qkvb", dinov3[1])).net.state_dict()
    meta = {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}
    for name, tensor in tower.items():
        if name.endswith("q_bias"):
            stem = name.removesuffix("q_bias")
            parts = [tensor, torch.zeros_like(tensor), tower[f"{stem}v_bias"]]
            meta[f"{stem}qkv.bias"] = torch.cat(parts)
            meta[f"{stem}qkv.bias_mask"] = torch.ones(96)
        elif not name.endswith("v_bias"):
            name = name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
            meta[name.replace("reg_token", "storage_tokens")] = tensor
    torch.save(meta, tmp_path / "dinov3.pth")
    found = load_frozen_blocks(Network("tiny_dinov3_qkvb", str(tmp_path / "dinov3.pth")))
    assert all(torch.equal(v, tower[k]) for k, v in found.net.state_dict().items())
    with pytest.raises(UserError, match=r"attn.qkv.bias is not 0, .* name the network with _qkvb"):
        load_frozen_blocks(Network("tiny_dinov3", str(tmp_path / "dinov3.pth")))
    plain = {k: torch.zeros_like(v) if k.endswith("qkv.bias") else v for k, v in meta.items()}
    torch.save(plain, tmp_path / "plain.pth")
    load_frozen_blocks(Network("tiny_dinov3", str(tmp_path / "plain.pth")))
    assert capsys.readouterr().out == ""


def test_biases_of_transformers_are_not_lost(dinov3):
    with pytest.raises(UserError, match=r"attn.q_bias is not 0, .* name the network with _qkvb"):
        load_frozen_blocks(Network("tiny_dinov3", dinov3[1]))


def test_the_image_tower_of_a_whole_clip_of_open_clip(siglip, tmp_path):
    tower = load_frozen_blocks(Network("tiny_siglip", siglip[1])).net.state_dict()
    whole = {f"visual.trunk.{k}": v for k, v in tower.items()}
    save_file(whole | {"logit_scale": torch.ones(1)}, tmp_path / "whole.safetensors")
    found = load_frozen_blocks(Network("tiny_siglip", str(tmp_path / "whole.safetensors")))
    assert all(torch.equal(v, tower[k]) for k, v in found.net.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos_embed": torch.zeros(1, 9, 32)}, r"pos_embed is \[1, 9, 32\], expected \[1, 4, 32\]"),
        ({"norm.bias": torch.zeros(8)}, r"norm.bias"),
    ],
)
def test_weights_of_other_sizes_are_refused(siglip, tmp_path, changes, message):
    tower = load_frozen_blocks(Network("tiny_siglip", siglip[1])).net.state_dict()
    whole = {f"visual.trunk.{k}": v for k, v in (tower | changes).items()}
    save_file(whole, tmp_path / "whole.safetensors")
    with pytest.raises(UserError, match=message):
        load_frozen_blocks(Network("tiny_siglip", str(tmp_path / "whole.safetensors")))


def test_pixels_are_normalised_as_the_files_beside_the_weights_say(siglip, tmp_path):
    """DINOv3 of satellites has a mean of its own; without a file it is timm's of the name."""
    tower = load_frozen_blocks(Network("tiny_siglip", siglip[1]))
    assert tower.factor.flatten().tolist() == pytest.approx([s / 0.5 for s in STD])
    save_file(tower.net.state_dict(), tmp_path / "model.safetensors")
    own = {"mean": [0.43, 0.411, 0.296], "std": [0.213, 0.156, 0.143]}
    config = {"architecture": "tiny_siglip", "pretrained_cfg": own}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = load_frozen_blocks(Network("tiny_siglip", str(tmp_path / "model.safetensors")))
    expected = [s / o for s, o in zip(STD, own["std"], strict=True)]
    assert found.factor.flatten().tolist() == pytest.approx(expected)
    (tmp_path / "config.json").unlink()
    ours = {"image_mean": own["mean"], "image_std": own["std"]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(ours))
    again = load_frozen_blocks(Network("tiny_siglip", str(tmp_path / "model.safetensors")))
    assert torch.equal(again.shift, found.shift)


def test_weights_of_a_tag_are_downloaded_by_timm(monkeypatch):
    asked = []

    def create(name, *, pretrained, num_classes, **options):
        asked.append((name, pretrained))
        if len(asked) > 1:
            raise OSError("no route to host")
        return made

    made = timm.create_model("tiny_dinov3", num_classes=0)
    backbone = BackboneMaps("tiny_dinov3", 8, size=32)
    monkeypatch.setattr(timm, "create_model", create)
    network = Network("vit_small_patch16_dinov3", "lvd1689m")
    start_backbone(backbone, network)
    assert torch.equal(backbone.net.reg_token, made.reg_token)
    assert asked == [("vit_small_patch16_dinov3.lvd1689m", True)]
    with pytest.raises(UserError, match=r"cannot download .*lvd1689m: no route to host; name"):
        load_frozen_blocks(network)
    with pytest.raises(UserError, match=r"timm has no weights 'x' of .* \(tags: lvd1689m\)"):
        load_frozen_blocks(Network("vit_small_patch16_dinov3", "x"))
    with pytest.raises(ValueError, match="timm has no weights 'y'"):
        load_tower(Network("vit_small_patch16_dinov3.y", "weights.pt"))
