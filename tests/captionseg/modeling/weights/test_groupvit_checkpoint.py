"""Parity with transformers' GroupViT on random weights, both ways, and what is no checkpoint."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import GroupViTConfig as TheirConfig
from transformers import GroupViTModel

from captionseg.modeling.groupvit import GroupViT, GroupViTConfig, groupvit_small
from captionseg.modeling.layers.grouping import compose_assignments
from captionseg.modeling.towers.dual_encoder import TowersConfig
from captionseg.modeling.towers.group_encoder import EncoderConfig
from captionseg.modeling.towers.texts import TextConfig
from captionseg.modeling.weights import saved
from captionseg.modeling.weights.groupvit_checkpoint import (
    convert,
    from_transformers,
    from_transformers_config,
    load_transformers,
    to_transformers,
    to_transformers_config,
)
from captionseg.records import UserError

SMALL = {
    "projection_dim": 12,
    "projection_intermediate_dim": 24,
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 96,
        "depths": [2, 1, 1],
        "num_hidden_layers": 4,
        "num_group_tokens": [6, 3, 0],
        "num_output_groups": [6, 3, 3],
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    },
    "text_config": {
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
}


def random_theirs(config: dict) -> GroupViTModel:
    """With all weights random: theirs starts with zeros where ours does not."""
    torch.manual_seed(0)
    model = GroupViTModel(TheirConfig(**config))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1:
                torch.nn.init.normal_(p, std=0.3 if "group_token" in name else p.shape[-1] ** -0.5)
            elif not name.endswith("logit_scale"):
                p.add_(0.1 * torch.randn_like(p))
        for name, b in model.named_buffers():
            if "running" in name:
                b.copy_(torch.rand_like(b) + 0.5)
    return model.eval()


@pytest.fixture(scope="module", params=["small", "published"])
def pair(request) -> tuple[GroupViTModel, GroupViT, int]:
    """Theirs, ours with its weights, and the side of pictures."""
    config = SMALL if request.param == "small" else {}
    theirs = random_theirs(config)
    ours = GroupViT(from_transformers_config(theirs.config.to_dict()))
    ours.load_state_dict(from_transformers(theirs.state_dict(), ours))
    return theirs, ours.eval(), 64 if config else 224


def test_the_published_model_has_its_number_of_parameters():
    model = GroupViT(groupvit_small())

    def count(*prefixes: str) -> int:
        return sum(p.numel() for n, p in model.named_parameters() if n.startswith(prefixes))

    assert count("towers.vision.") == 28_837_136
    assert count("towers.text.") == 22_145_792
    assert count("towers.image_projector") == 2_633_984
    assert count("towers.text_projector") == 2_109_696
    assert sum(p.numel() for p in model.parameters()) == 55_726_610


def test_embeddings_and_both_assignments_are_theirs(pair):
    theirs, ours, side = pair
    image = torch.randn(2, 3, side, side)
    tokens = torch.randint(1, 49_405, (3, 77))
    for row, end in enumerate((5, 20, 76)):
        tokens[row, end:] = 0
        tokens[row, end] = 49_407
    with torch.inference_mode():
        expected = theirs(input_ids=tokens, pixel_values=image, output_attentions=True)
        encoded = ours.towers.vision(image)
        maps = expected.vision_model_output.attentions
        for mine, their in zip(encoded.maps, maps, strict=True):
            torch.testing.assert_close(mine, their, atol=1e-5, rtol=1e-5)
        pooled = ours.towers.embed(encoded.groups.mean(1))
        torch.testing.assert_close(pooled, expected.image_embeds, atol=1e-5, rtol=1e-5)
        text = torch.nn.functional.normalize(ours.encode_text(tokens), dim=-1)
        torch.testing.assert_close(text, expected.text_embeds, atol=1e-5, rtol=1e-5)
        composed = compose_assignments(encoded.maps)
        torch.testing.assert_close(composed.sum(1), torch.ones(2, (side // 16) ** 2))
        assert composed.shape == (2, len(encoded.groups[0]), (side // 16) ** 2)


def test_ours_in_theirs_and_back(pair):
    theirs, ours, _ = pair
    state = to_transformers(ours.state_dict())
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("position_ids") for name in missing)
    again = from_transformers(theirs.state_dict(), ours)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(again[name], tensor), name
    assert from_transformers_config(to_transformers_config(ours.config)) == ours.config


def test_other_sizes_than_that_of_training_work_in_ours(pair):
    _, ours, side = pair
    with torch.inference_mode():
        encoded = ours.towers.vision(torch.randn(1, 3, side + 32, 2 * side))
    assert encoded.grid == ((side + 32) // 16, side // 8)
    assert torch.isfinite(encoded.groups).all()


def test_folders_are_converted_both_ways(tmp_path):
    theirs = random_theirs(SMALL)
    theirs.save_pretrained(tmp_path / "hub")
    assert (
        convert(tmp_path / "hub", tmp_path / "ours") == f"{tmp_path}/ours: a groupvit of captionseg"
    )
    ours = saved.load(tmp_path / "ours").model
    image = torch.randn(1, 3, 64, 64)
    expected = theirs.get_image_features(image)
    expected = getattr(expected, "pooler_output", expected)
    torch.testing.assert_close(
        ours.towers.image_projector(ours.towers.vision(image).groups.mean(1)), expected
    )
    assert "GroupViTModel" in convert(tmp_path / "ours", tmp_path / "back")
    back = GroupViTModel.from_pretrained(tmp_path / "back").eval()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


def test_a_binary_checkpoint_is_read_without_running_it(tmp_path):
    theirs = random_theirs(SMALL)
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    assert isinstance(load_transformers(tmp_path), GroupViT)
    torch.save({"weights": print}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="could run code"):
        load_transformers(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "clip"}, "a checkpoint of 'clip', not of groupvit"),
        (
            {"projection_dim": 13},
            r"of this shape: visual_projection.3.weight is \[12, 24\], expected \[13, 24\]",
        ),
        (
            {"vision_config": SMALL["vision_config"] | {"depths": [3, 1, 1]}},
            "no tensor vision_model.*layers.2",
        ),
        (
            {"vision_config": SMALL["vision_config"] | {"depths": [1, 1, 1]}},
            "nothing takes vision_model.*left over",
        ),
        (
            {"vision_config": SMALL["vision_config"] | {"num_group_tokens": [6, 3]}},
            "depths need as many group_tokens",
        ),
        ({"vision_config": 3}, "not a checkpoint of GroupViT"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_one_line(tmp_path, change, message):
    theirs = random_theirs(SMALL)
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message) as error:
        load_transformers(tmp_path)
    assert str(error.value).count(str(tmp_path)) == 1
    assert "\n" not in str(error.value)


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        convert(tmp_path, tmp_path / "out")
    (tmp_path / "config.json").write_text('{"model_type": "groupvit"}')
    with pytest.raises(UserError, match="no such file"):
        load_transformers(tmp_path)


def test_what_transformers_cannot_express_is_one_line(tmp_path):
    config = GroupViTConfig(
        TowersConfig(EncoderConfig(region_width=5, width=8, heads=2), TextConfig(width=4), 8, 4)
    )
    saved.save(tmp_path, "groupvit", GroupViT(config), {})
    with pytest.raises(UserError, match="only a groupvit on patches of pixels"):
        convert(tmp_path, tmp_path / "out")
