"""The whole DAG on drawn shapes with the models that people take today, small and with random
weights: SigLIP 2 embeds, SAM 3 finds segments and is a recipe of its own, USE has a DINOv3 tower.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from captionseg.inference.predictor import Predictor
from stages.run import STAGES
from tests.captionseg.encoders.tiny_siglip import save_siglip
from tests.captionseg.modeling import tiny_towers  # noqa: F401 (registers them)
from tests.stages.given import read_rows, run_stages, set_params
from tests.tiny_sam3 import save_sam3

RECIPES = ("segments-use", "none-sam3")


def write_params(root: Path) -> None:
    """Write the models, and params.yaml that names them."""
    torch.manual_seed(0)
    save_file(timm.create_model("tiny_dinov3", num_classes=0).state_dict(), root / "d.safetensors")
    siglip = save_siglip("siglip2", root / "siglip2", max_position_embeddings=64)
    sam3 = save_sam3(root / "sam3")
    tower = {"name": "tiny_dinov3", "weights": str(root / "d.safetensors")}
    by_nouns: dict[str, Any] = {"curation": "nouns", "archive": "nouns"}
    use = {"crop": 32, "cell": 16, "networks": [tower], "min_cells": 0}
    shapes = {"train": 14, "tune": 2, "test": 2, "size": 48}
    set_params(
        {"source": "shapes", "shard_size": 20, "shapes": shapes},
        index={"encoder": "siglip", "neighbours": 4, "siglip": {"folder": siglip}},
        curate={"rules": ["nouns"], "vocabulary": {"minimum": 1}},
        segment_text={
            "curation": "nouns",
            "grounder": "sam3",
            "segmenter": "none",
            "min_stability": 0,
            "min_area": 1,
            "sam3": {"checkpoint": sam3, "threshold": 0},
        },
        report={"examples": 2, "pictures": 2, "segments": 2, "scenes": 1, "heat": 0, "sheet": 0},
        validate={"min_with_concepts": 0.1, "min_with_segments": 0},
        recipes={
            "segments-use": by_nouns | {"model": "use", "settings": use},
            "none-sam3": by_nouns
            | {"model": "sam3", "settings": {"weights": sam3, "zero_shot": {"background": None}}},
        },
        about={name: name for name in RECIPES},
    )


def test_the_whole_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONSEG_TRACKING", "off")
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    metrics = run_stages(STAGES[:-1], RECIPES)  # all but compare, which reads reports alone
    assert metrics["download"]["pairs"] == 18
    scores = json.loads(Path("reports/metrics.json").read_text())["recipes"]
    assert all(0 < scores[name]["shapes"]["miou"] <= 100 for name in RECIPES)
    segments = read_rows("data/segments")
    assert {row["source"] for row in segments} == {"sam3"}
    image = torch.zeros(32, 48, 3, dtype=torch.uint8).numpy()
    for name in RECIPES:
        labels = Predictor.load(Path("models") / name, device="cpu").segment(
            image, ["star", "sand"]
        )
        assert labels.shape == (32, 48)
        assert set(labels.ravel().tolist()) <= {0, 1}
