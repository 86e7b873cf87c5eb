"""Seeds of a recipe that are trained at the same time, in forks of one process."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace

import pytest
import torch

from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.runtime import fan_out
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.training import seeds as seeds_module
from captionseg.training import side_by_side
from captionseg.training.params import PretrainParams
from captionseg.training.pretrain import pretrain
from captionseg.training.side_by_side import count_at_once

SIDE_BY_SIDE = RuntimeParams(workers=2)


@pytest.fixture
def train(recipe, params, folders):
    """folder, runtime, changed params -> metrics, what was told."""

    def train(out, runtime=SIDE_BY_SIDE, **changes):
        told = []
        metrics = pretrain(
            recipe,
            replace(params, **{"epochs": 2, "seeds": [0, 1, 2], **changes}),
            folders,
            name="cocu-mil",
            context={},
            out=out,
            tell=lambda values, step: told.append((values, step)),
            runtime=runtime,
        )
        return metrics, told

    return train


def read_all(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_side_by_side_or_one_after_another_the_same_bytes(train, tmp_path, monkeypatch) -> None:
    """With two threads each, also after this process has computed with two."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    before = torch.__config__.parallel_info().count("at::get_num_threads() : 1")
    torch.set_num_threads(2)
    try:
        alone, told_alone = train(tmp_path / "alone", HERE)
        beside, told = train(tmp_path / "beside")
    finally:
        torch.set_num_threads(1 if before else 2)
    assert read_all(tmp_path / "beside") == read_all(tmp_path / "alone")
    assert {key: beside[key] for key in ("loss", "tune_miou")} == {
        key: alone[key] for key in ("loss", "tune_miou")
    }
    assert sorted(map(repr, told)) == sorted(map(repr, told_alone))
