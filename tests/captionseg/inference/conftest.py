"""Saved models of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.weights import saved
from captionseg.training.pretrain import copy_encoder
from tests.captionseg.benchmarks.conftest import groups, regions  # noqa: F401

CONTEXT = {"regions": {"maker": "toy", "toy": {"side": 8}}, "prompts": "simple"}


@pytest.fixture
def folder(toy, world, tmp_path) -> Path:
    """A model that reads regions, its encoder beside it."""
    torch.manual_seed(0)
    width = world.pooled.shape[2]
    saved.save(
        tmp_path, "segment_mil", SegmentMil(SegmentMilConfig(width, 16, hidden=8, width=4)), CONTEXT
    )
    copy_encoder(world.encoder, tmp_path / "encoder")
    return tmp_path
