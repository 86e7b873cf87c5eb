"""Every field of a GroupViT's config, in transformers and in ours: outputs change alike, or it is
refused.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import GroupViTConfig as TheirConfig
from transformers import GroupViTModel
from transformers.models.groupvit.configuration_groupvit import (
    GroupViTTextConfig,
    GroupViTVisionConfig,
)

from captionseg.modeling.groupvit import GroupViT, GroupViTConfig, groupvit_small
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.modeling.towers.dual_encoder import TowersConfig
from captionseg.modeling.towers.group_encoder import EncoderConfig
from captionseg.modeling.towers.texts import TextConfig
from captionseg.modeling.weights import saved
from captionseg.modeling.weights.groupvit_checkpoint import convert, load_transformers
from captionseg.records import UserError
from captionseg.typed import replace_fields

VISION = {
    "hidden_size": 16,
    "intermediate_size": 64,
    "depths": [1, 1, 1],
    "num_hidden_layers": 3,
    "num_group_tokens": [4, 2, 0],
    "num_output_groups": [4, 2, 2],
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
TEXT = {"hidden_size": 8, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
BASE = {"projection_dim": 6, "projection_intermediate_dim": 12}
REFUSED, SAME = "refused", "same"

THEIR_FIELDS = {
    "vision_config": {
        "hidden_size": (24, REFUSED),
        "intermediate_size": (32, REFUSED),
        "num_hidden_layers": (4, SAME),
        "depths": ([2, 1, 1], SAME),
        "num_group_tokens": ([4, 3, 0], SAME),
        "num_output_groups": ([4, 3, 3], SAME),
        "num_attention_heads": (4, SAME),
        "image_size": (48, SAME),
        "patch_size": (8, SAME),
        "num_channels": (1, REFUSED),
        "hidden_act": ("quick_gelu", REFUSED),
        "layer_norm_eps": (0.1, REFUSED),
        "dropout": (0.5, SAME),
        "attention_dropout": (0.5, SAME),
        "initializer_range": (0.5, SAME),
        "initializer_factor": (0.5, SAME),
        "assign_eps": (0.25, SAME),
        "assign_mlp_ratio": ([1, 4], REFUSED),
    },
    "text_config": {
        "vocab_size": (49500, REFUSED),
        "hidden_size": (16, REFUSED),
        "intermediate_size": (16, REFUSED),
        "num_hidden_layers": (2, SAME),
        "num_attention_heads": (4, SAME),
        "max_position_embeddings": (20, SAME),
        "hidden_act": ("gelu", REFUSED),
        "layer_norm_eps": (0.1, REFUSED),
        "dropout": (0.5, SAME),
        "attention_dropout": (0.5, SAME),
        "initializer_range": (0.5, SAME),
        "initializer_factor": (0.5, SAME),
        "pad_token_id": (0, SAME),
        "bos_token_id": (5, SAME),
        "eos_token_id": (5, REFUSED),
    },
    "": {
        "projection_dim": (5, SAME),
        "projection_intermediate_dim": (10, SAME),
        "logit_scale_init_value": (1.0, SAME),
        "initializer_range": (0.5, SAME),
        "initializer_factor": (0.5, SAME),
        "output_segmentation": (True, SAME),
    },
}
"""Field -> another value, and what becomes of it."""
MORE = [
    ("vision_config", "image_size", [32, 32], SAME),
    ("vision_config", "image_size", [32, 48], REFUSED),
    ("vision_config", "patch_size", [16, 8], REFUSED),
    ("text_config", "eos_token_id", 2, SAME),
    ("vision_config", "assign_mlp_ratio", [0.5, 2], REFUSED),
    ("", "logit_scale_init_value", 5.0, REFUSED),
]
WALK = [
    (part, name, *case) for part, fields in THEIR_FIELDS.items() for name, case in fields.items()
] + MORE


def their_config(part: str = "", **change) -> dict:
    config = BASE | {"vision_config": dict(VISION), "text_config": dict(TEXT)}
    (config[part] if part else config).update(change)
    return config


def random_theirs(config: dict) -> GroupViTModel:
    torch.manual_seed(0)
    model = GroupViTModel(TheirConfig(**config))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not name.endswith("logit_scale"):
                p.copy_(0.5 * torch.randn_like(p))
        for name, b in model.named_buffers():
            if "running_var" in name:
                b.copy_(torch.rand_like(b) + 0.5)
    return model.eval()


def check_equal(theirs: GroupViTModel, ours: GroupViT) -> None:
    """Embeddings, assignments and the temperature."""
    side = ours.config.towers.encoder.size
    image, tokens = (
        torch.randn(2, 3, side, side),
        torch.tensor([[49406, 7, 3, 49407, 0], [49406, 9, 49407, 0, 0]]),
    )
    with torch.inference_mode():
        seen = theirs.vision_model(image, output_attentions=True, return_dict=True)
        expected = theirs(input_ids=tokens, pixel_values=image)
        encoded = ours.towers.vision(image)
        for mine, their in zip(
            encoded.maps, [a for a in seen.attentions if a is not None], strict=True
        ):
            torch.testing.assert_close(mine, their, atol=1e-5, rtol=1e-4)
        pooled = encoded.groups.mean(1) if ours.config.pool == "mean" else encoded.groups.amax(1)
        torch.testing.assert_close(
            ours.towers.embed(pooled), expected.image_embeds, atol=1e-5, rtol=1e-4
        )
        text = torch.nn.functional.normalize(ours.encode_text(tokens), dim=-1)
        torch.testing.assert_close(text, expected.text_embeds, atol=1e-5, rtol=1e-4)
    scale = ours.caption_scale.exp().clamp(max=100.0)
    torch.testing.assert_close(scale, theirs.logit_scale.exp())


def test_all_of_their_fields_are_walked():
    """A field that a new transformers has is not forgotten."""
    for part, kind in (
        ("vision_config", GroupViTVisionConfig),
        ("text_config", GroupViTTextConfig),
        ("", TheirConfig),
    ):
        own = {
            name for name in kind.__annotations__ if name not in ("model_type", "base_config_key")
        }
        assert own - {"text_config", "vision_config", "sub_configs_defaults"} == set(
            THEIR_FIELDS[part]
        )


@pytest.mark.parametrize(
    ("part", "name", "value", "fate"), WALK, ids=[f"{w[0]}.{w[1]}={w[2]}" for w in WALK]
)
def test_a_field_of_theirs_is_expressed_or_refused(tmp_path, part, name, value, fate):
    theirs = random_theirs(their_config(part, **{name: value}))
    theirs.save_pretrained(tmp_path)
    if fate == SAME:
        check_equal(theirs, load_transformers(tmp_path))
        return
    with pytest.raises(UserError) as caught:
        load_transformers(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(str(tmp_path)) == 1
    assert name in str(caught.value) or name in ("hidden_size", "logit_scale_init_value")


def test_old_files_have_their_parts_under_another_name(tmp_path):
    theirs = random_theirs(their_config())
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config_dict"] = config["vision_config"] | {"layer_norm_eps": 0.1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match=r"vision_config.layer_norm_eps: 0.1 cannot be expressed, only 1e-05"
    ):
        load_transformers(tmp_path)


@pytest.mark.parametrize(
    ("mean", "fits"), [([0.485, 0.456, 0.406], True), ([0.5, 0.5, 0.5], False)]
)
def test_pictures_are_normalised_as_ours_are(tmp_path, mean, fits):
    random_theirs(their_config()).save_pretrained(tmp_path)
    said = {"image_mean": mean, "image_std": [0.229, 0.224, 0.225]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    if fits:
        assert load_transformers(tmp_path)
    else:
        with pytest.raises(UserError, match="image_mean and image_std cannot be expressed"):
            load_transformers(tmp_path)


def our_config(changes: dict) -> GroupViTConfig:
    encoder = dataclasses.replace(
        groupvit_small().towers.encoder,
        size=32,
        width=16,
        heads=2,
        depths=[1, 1, 1],
        group_tokens=[4, 2, 0],
        groups=[4, 2],
    )
    text = TextConfig("clip", width=8, depth=1, heads=2, vocabulary=49408)
    base = dataclasses.replace(groupvit_small(), towers=TowersConfig(encoder, text, 12, 6, "batch"))
    return replace_fields(base, changes, "config")


def nested(path: str, value) -> dict:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


OUR_FIELDS = {
    "towers.encoder": {
        "tokens": ("regions", REFUSED),
        "size": (48, SAME),
        "patch": (8, SAME),
        "patch_norm": (False, REFUSED),
        "backbone": ("test_vit", REFUSED),
        "frozen": (False, SAME),
        "weights": ("", SAME),
        "region_width": (3, SAME),
        "width": (24, SAME),
        "heads": (4, SAME),
        "depths": ([2, 1, 1], SAME),
        "group_tokens": ([4, 3, 0], SAME),
        "groups": ([3, 2], REFUSED),
        "binding": ("slots", REFUSED),
        "assign": ("soft", REFUSED),
        "assign_eps": (0.25, SAME),
        "token_std": (0.5, SAME),
        "weight_std": (0.5, SAME),
        "eps": (0.1, REFUSED),
        "drop_path": (0.5, SAME),
        "dropout": (0.4, SAME),
    },
    "towers.text": {
        "kind": ("bert", REFUSED),
        "width": (16, SAME),
        "depth": (2, SAME),
        "heads": (4, SAME),
        "context": (20, SAME),
        "vocabulary": (49500, REFUSED),
        "hidden": (5, SAME),
        "dropout": (0.4, SAME),
        "weights": ("", SAME),
    },
    "towers": {"hidden": (10, SAME), "embedding": (5, SAME), "norm": ("layer", REFUSED)},
    "": {
        "pool": ("max", REFUSED),
        "segment_weight": (0.0, SAME),
        "temperature": (0.1, SAME),
        "multi_label": ("soft_target", SAME),
        "mask_negatives": (True, SAME),
        "caption_weight": (2.0, SAME),
        "caption_pads": (True, SAME),
    },
}
BACK = [(part, name, *case) for part, fields in OUR_FIELDS.items() for name, case in fields.items()]
BACK += [
    ("towers.encoder", "group_tokens", [3, 2, 0], REFUSED),
    ("towers.encoder", "size", 40, REFUSED),
    ("", "temperature", 0.001, SAME),
]


def test_all_of_our_fields_are_walked():
    for part, kind in (
        ("towers.encoder", EncoderConfig),
        ("towers.text", TextConfig),
        ("towers", TowersConfig),
        ("", GroupViTConfig),
    ):
        own = {field.name for field in dataclasses.fields(kind)}
        assert own - {"towers", "encoder", "text", "zero_shot"} == set(OUR_FIELDS[part])


def saved_ours(folder: Path, config: GroupViTConfig) -> GroupViT:
    torch.manual_seed(0)
    model = GroupViT(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not name.endswith("_scale"):
                p.add_(0.2 * torch.randn_like(p))
    saved.save(folder, "groupvit", model, {"prompts": "simple"})
    return model


@pytest.mark.parametrize(
    ("part", "name", "value", "fate"), BACK, ids=[f"{w[0]}.{w[1]}={w[2]}" for w in BACK]
)
def test_a_field_of_ours_is_expressed_or_refused(tmp_path, part, name, value, fate):
    changes = nested(f"{part}.{name}".strip("."), value)
    if (name, value) == ("tokens", "regions"):
        changes["towers"]["encoder"]["region_width"] = 3
    ours = saved_ours(tmp_path / "ours", our_config(changes))
    if fate == SAME:
        assert convert(tmp_path / "ours", tmp_path / "theirs").endswith(
            "a GroupViTModel of transformers"
        )
        check_equal(GroupViTModel.from_pretrained(tmp_path / "theirs").eval(), ours)
        return
    with pytest.raises(UserError) as caught:
        convert(tmp_path / "ours", tmp_path / "theirs")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "theirs").exists()


def test_what_stays_behind_is_said(tmp_path):
    saved_ours(
        tmp_path / "ours", dataclasses.replace(our_config({}), zero_shot=ZeroShot(background=0.9))
    )
    assert convert(tmp_path / "ours", tmp_path / "theirs").endswith(
        "; zero_shot of ours has no counterpart there and stays behind"
    )


@pytest.mark.parametrize("content", ["{", "[]", "3", '"model"'])
def test_a_config_that_is_none_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config.json: cannot be read"):
        convert(tmp_path, tmp_path / "out")
    with pytest.raises(
        UserError, match=r"nowhere/config.json: cannot be read \(there is no such folder\)"
    ):
        convert(tmp_path / "nowhere", tmp_path / "out")


def test_a_model_is_never_written_over(tmp_path):
    saved_ours(tmp_path / "ours", our_config({}))
    before = (tmp_path / "ours" / "model.safetensors").read_bytes()
    for target in (tmp_path / "ours", tmp_path / "ours" / "config.json"):
        with pytest.raises(UserError, match="is there already and not an empty folder"):
            convert(tmp_path / "ours", target)
    assert (tmp_path / "ours" / "model.safetensors").read_bytes() == before
