"""A training set that a small model learns in seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captionseg.modeling import SegmentMilConfig
from captionseg.training import PretrainParams, Recipe, loader
from captionseg.training.loader import Folders, TrainingSet
from captionseg.training.pretrain import build_model, model_config


@pytest.fixture
def folders(world) -> Folders:
    return Folders(world.prepared, world.supervision, world.truth)


@pytest.fixture
def data(folders) -> TrainingSet:
    return loader.load(folders, curation="cocu", archive="cocu")


@pytest.fixture
def recipe() -> Recipe:
    return Recipe("cocu", "cocu")


@pytest.fixture
def params() -> PretrainParams:
    return PretrainParams(
        epochs=4, batch=8, learning_rate=1e-2, device="cpu", tune_side=8,
        segment_mil=SegmentMilConfig(hidden=16, width=8, dropout=0.2),
    )  # fmt: skip


@pytest.fixture
def make_model(recipe, params, data):
    """seed, changed fields of the model -> a fresh model."""

    def make(seed: int = 0, **changes) -> torch.nn.Module:
        torch.manual_seed(seed)
        return build_model(recipe.model, model_config(replace(recipe, settings=changes), params), data)

    return make
