"""Saved models of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captionseg.modeling.groupvit import GroupViT, GroupViTConfig
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.weights import saved
from captionseg.training.pretrain import copy_encoder
from captionseg.typed import replace_fields
from tests.captionseg.conftest import TINY_GROUPVIT


def save_regions(folder: Path, world, seed: int = 0) -> None:
    """A model that reads regions."""
    torch.manual_seed(seed)
    width = world.pooled.shape[2]
    context = {"regions": {"maker": "toy", "toy": {"side": 8}}, "prompts": "simple"}
    saved.save(
        folder, "segment_mil", SegmentMil(SegmentMilConfig(width, 16, hidden=8, width=4)), context
    )


@pytest.fixture
def regions(toy, world, tmp_path) -> Path:
    """A model that reads regions."""
    save_regions(tmp_path / "m", world)
    copy_encoder(world.encoder, tmp_path / "m" / "encoder")
    return tmp_path / "m"


@pytest.fixture
def recipe(toy, world, tmp_path) -> Path:
    """Three seeds of one, as a recipe leaves them."""
    home = tmp_path / "models" / "cocu-mil"
    for seed in (2, 0, 10):
        save_regions(home / "seeds" / str(seed), world, seed)
    copy_encoder(world.encoder, home / "encoder")
    return home


@pytest.fixture
def groups(tmp_path) -> Path:
    """One that reads pixels and knows a background."""
    torch.manual_seed(0)
    saved.save(
        tmp_path / "g",
        "groupvit",
        GroupViT(replace_fields(GroupViTConfig(), TINY_GROUPVIT, "small")),
        {"prompts": "simple"},
    )
    return tmp_path / "g"
