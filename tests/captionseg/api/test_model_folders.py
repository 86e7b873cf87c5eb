"""Which model is taken: the best of one's own, the one that came with the package, MLflow's or that
of transformers.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

import captionseg
from captionseg import shipped
from captionseg.api import model_folders
from captionseg.modeling.weights import saved
from captionseg.modeling.weights.groupvit_checkpoint import convert
from captionseg.records import UserError
from captionseg.typed import replace_fields
from tests.captionseg.conftest import TINY_GROUPVIT


def write(folder, *scores) -> None:
    for seed, score in enumerate(scores):
        (folder / "seeds" / str(seed)).mkdir(parents=True)
        (folder / "seeds" / str(seed) / "fit.json").write_text(json.dumps(score))
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "model.safetensors").write_bytes(b"")


def test_the_best_on_the_tune_split_is_taken(tmp_path):
    write(tmp_path / "b", {"tune_miou": 30.0}, {"tune_miou": 20.0})
    write(tmp_path / "c", {"tune_miou": 26.0}, {"tune_miou": 26.0})
    write(tmp_path / "a", {"loss": 1.0})
    (tmp_path / "z" / "seeds").mkdir(parents=True)  # not trained to the end
    assert captionseg.find_model(tmp_path) == tmp_path / "c"


def test_models_of_other_libraries_are_passed_over(tmp_path):
    for name, config in (
        ("bert", {"model_type": "bert"}),
        ("ours", {"model": "segment_mil", "config": {}, "context": {}}),
        ("z", {"model_type": "groupvit"}),  # of transformers, which can be loaded
    ):
        write(tmp_path / name)
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    assert [folder.name for folder in model_folders.list_own(tmp_path)] == ["ours", "z"]
    assert captionseg.find_model(tmp_path) == tmp_path / "ours"


def test_without_masks_the_first_is_taken(tmp_path):
    write(tmp_path / "b", {"loss": 1.0})
    write(tmp_path / "a", {"tune_miou": float("nan")})
    assert captionseg.find_model(tmp_path) == tmp_path / "a"


def test_one_s_own_wins_over_the_one_that_came_with_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "path", lambda: tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    assert captionseg.find_model() == tmp_path / "shipped"
    assert model_folders.find_folder() == tmp_path / "shipped"
    write(tmp_path / "models" / "a")
    assert captionseg.find_model().name == "a"


def test_without_any_model_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "path", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert captionseg.find_model() is None
    with pytest.raises(UserError, match=r"^no model: models has none, .* name the folder of one$"):
        captionseg.load()


def test_a_damaged_score_is_named(tmp_path):
    write(tmp_path / "b", ["no", "mapping"])
    with pytest.raises(UserError, match=r"fit.json: cannot be read"):
        captionseg.find_model(tmp_path)


@pytest.mark.parametrize("missing", ["captionseg.tracking.model_files", "mlflow"])
def test_without_mlflow_there_is_one_line(monkeypatch, tmp_path, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"models:/x@y: needs MLflow; install captionseg\[pipe"):
        captionseg.load("models:/x@y")


def test_a_groupvit_of_transformers_is_loaded_as_it_is(tmp_path):
    from captionseg.modeling.groupvit import GroupViT, GroupViTConfig

    encoder = {**TINY_GROUPVIT["towers"]["encoder"], "assign": "gumbel"}
    changes = {"pool": "mean", "towers": {**TINY_GROUPVIT["towers"], "encoder": encoder}}
    torch.manual_seed(0)
    model = GroupViT(replace_fields(GroupViTConfig(), changes, "small"))
    saved.save(tmp_path / "ours", "groupvit", model, {"prompts": "simple"})
    convert(tmp_path / "ours", tmp_path / "theirs")
    image = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    ours, theirs = (
        captionseg.load(tmp_path / name, device="cpu").score(image, ["dog", "cat", "grass"])
        for name in ("ours", "theirs")
    )
    assert ours.shape == theirs.shape == (3, 40, 56)
    assert np.isfinite(theirs).all()
    (tmp_path / "theirs" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no such file; give the folder of a GroupViT"):
        captionseg.load(tmp_path / "theirs")
