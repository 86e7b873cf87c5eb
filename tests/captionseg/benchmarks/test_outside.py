"""Saved models on folders: the same labels as Predictor's, and every policy of the background."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg import metrics
from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.layout import read_mask
from captionseg.benchmarks.outside import Background, evaluate_folder, predictor, settle, summary
from captionseg.benchmarks.published import PUBLISHED
from captionseg.inference import Predictor, Protocol, RefineParams, WindowParams, read_image
from captionseg.inference.windows import Settled
from captionseg.modeling import GroupViT, GroupViTConfig, SegmentMil, SegmentMilConfig, saved
from captionseg.modeling.segmenter import Reads
from captionseg.modeling.zero_shot import ZeroShot
from captionseg.prepared import without_regions
from captionseg.records import UserError
from captionseg.storage import read_arrays
from captionseg.training.pretrain import copy_encoder
from captionseg.typed import replaced
from tests.captionseg.benchmarks.trees import write_tree

RAW = np.repeat(np.arange(3), 8)[None].repeat(20, 0)
GROUPS = {"towers": {
    "encoder": {"tokens": "pixels", "size": 32, "width": 8, "heads": 2, "depths": [1, 1], "group_tokens": [4, 0],
                "groups": [4], "binding": "groupvit"},
    "text": {"kind": "clip", "width": 8, "depth": 1, "heads": 2, "vocabulary": 49408},
    "hidden": 8, "embedding": 4, "norm": "batch"}, "zero_shot": {"readout": "groups", "score": "product"}}  # fmt: skip
WINDOWS = WindowParams(40, 32, 16)


@pytest.fixture
def regions(toy, world, tmp_path) -> Path:
    """A model that reads regions, of random weights."""
    torch.manual_seed(0)
    width = read_arrays(world.regions / "pooled").shape[2]
    context = {"regions": {"maker": "toy", "toy": {"side": 8}}, "prompts": "simple"}
    saved.save(tmp_path / "m", "segment_mil", SegmentMil(SegmentMilConfig(width, 16, hidden=8, width=4)), context)
    copy_encoder(world.encoder, tmp_path / "m" / "encoder")
    return tmp_path / "m"


@pytest.fixture
def groups(tmp_path) -> Path:
    """One that reads pixels and knows a background, likewise."""
    torch.manual_seed(0)
    saved.save(tmp_path / "g", "groupvit", GroupViT(replaced(GroupViTConfig(), GROUPS, "small")), {"prompts": "simple"})
    return tmp_path / "g"


def benchmark(tmp_path, classes: str = "dog cat grass") -> FolderBenchmark:
    root = write_tree(tmp_path / "tree", "folder", [RAW, RAW[:, ::-1]])
    (root / "classes.txt").write_text(classes.replace(" ", "\n"))
    return FolderBenchmark.open(PUBLISHED["folder"], root)


def by_hand(pictures: FolderBenchmark, predict) -> float:
    """mIoU of labels of whole pictures."""
    total = sum(metrics.areas(predict(read_image(item.image)), read_mask(item.mask), len(pictures.names))
                for item in pictures.items)  # fmt: skip
    return round(100 * float(metrics.mean_iou(total)), 4)


@pytest.mark.parametrize("refine", [None, RefineParams("pamr", side=8, iterations=1), RefineParams("segments")])
def test_the_same_labels_as_the_predictor(regions, tmp_path, refine):
    pictures = benchmark(tmp_path)
    protocol = Protocol(refine=refine)
    result = evaluate_folder(regions, pictures, protocol, device="cpu", bootstrap=10)
    own = Predictor.load(regions, device="cpu", protocol=protocol)
    assert result["scores"]["miou"] == by_hand(pictures, lambda image: own.segment(image, pictures.names))
    assert result["scores"]["miou_low"] <= result["scores"]["miou"] <= result["scores"]["miou_high"] <= 100
    assert result["pictures"] == {"scored": 2, "of": 2}
    assert result["protocol"]["refine"] == (refine.method if refine else "none")
    assert result["protocol"]["windows"] is None
    assert "miou_foreground" not in result["scores"]


def test_windows_and_threshold(groups, tmp_path):
    """Some pixels fall below the threshold; those of the surest group never do."""
    pictures, protocol = benchmark(tmp_path, "background cat grass"), Protocol(WINDOWS)
    result = evaluate_folder(groups, pictures, protocol, device="cpu", background=0.9, bootstrap=5)
    own = Predictor.load(groups, device="cpu", background=0.9, protocol=protocol)
    seen = []

    def predict(image):
        seen.append(own.segment(image, ["cat", "grass"]) + 1)
        return seen[-1]

    assert result["scores"]["miou"] == by_hand(pictures, predict)
    assert set(np.unique(seen)) >= {0, 1} or set(np.unique(seen)) >= {0, 2}
    assert result["protocol"]["background"] == {"policy": "threshold", "score": 0.9}
    assert result["protocol"]["windows"]["crop"] == 32
    assert set(result["scores"]) == {"miou", "miou_low", "miou_high", "pixel_accuracy", "boundary_f",
                                     "miou_foreground"}  # fmt: skip
    rest = [result["per_class"].get(name) for name in ("cat", "grass")]
    assert result["scores"]["miou_foreground"] == pytest.approx(np.mean(rest), abs=1e-3)


def test_without_threshold_the_word_is_a_class(groups, tmp_path):
    pictures, protocol = benchmark(tmp_path, "background cat grass"), Protocol(WINDOWS)
    result = evaluate_folder(groups, pictures, protocol, device="cpu", bootstrap=5)
    own = Predictor.load(groups, device="cpu", protocol=protocol)
    assert result["protocol"]["background"] == {"policy": "word", "score": None}
    assert result["scores"]["miou"] == by_hand(pictures, lambda image: own.segment(image, pictures.names))


@dataclass(frozen=True)
class Config:
    zero_shot: ZeroShot = field(default_factory=ZeroShot)


@pytest.mark.parametrize(("saved_score", "wanted", "given", "policy", "left"), [
    (None, True, None, Background("word"), None),
    (0.4, True, None, Background("threshold", 0.4), 0.4),
    (0.4, True, 0.9, Background("threshold", 0.9), 0.9),
    (0.4, False, None, Background("none"), None),  # a model's threshold means nothing where no class is background
    (0.0, True, None, Background("threshold", 0.0), 0.0),
])  # fmt: skip
def test_policies_of_models_with_a_threshold(saved_score, wanted, given, policy, left):
    model = SimpleNamespace(config=Config(ZeroShot(background=saved_score)))
    assert settle(model, wanted, given) == policy
    assert model.config.zero_shot.background == left


def test_policies_of_models_without():
    model = SimpleNamespace(config=SimpleNamespace())
    assert settle(model, True, None) == Background("word")
    assert settle(model, True, 0.2) == Background("constant", 0.2)
    assert settle(model, False, None) == Background()
    with pytest.raises(UserError, match="--background: this benchmark has no background class"):
        settle(model, False, 0.2)


def test_a_constant_background_takes_what_is_below_it():
    logits = torch.tensor([[[0.1, 0.6, 0.3]], [[0.2, 0.5, 0.4]]])
    model = SimpleNamespace(config=SimpleNamespace(reads=Reads()), segment=lambda inputs, classes: logits[None],
                            label=lambda inputs, classes: logits[None].argmax(1))  # fmt: skip
    inputs, classes = without_regions(1, (1, 3)), torch.zeros(2, 4)
    for policy, labels in ((Background("constant", 0.4), [[0, 1, 2]]), (Background("constant", 0.7), [[0, 0, 0]]),
                           (Background("word"), [[1, 0, 1]]), (Background("threshold", 0.4), [[2, 1, 2]])):
        assert predictor(model, classes, Settled(), policy, "cpu")(inputs).tolist() == labels


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file; train a model first"):
        evaluate_folder(tmp_path / "none", benchmark(tmp_path), Protocol(), device="cpu")


def test_a_model_that_was_saved_without_its_regions_is_one_line(regions, tmp_path):
    config = regions / "config.json"
    config.write_text(config.read_text().replace('"maker": "toy"', '"maker": "lost"'))
    with pytest.raises(UserError, match=r"not a model of this version of captionseg: config.json, context: 'lost'"):
        evaluate_folder(regions, benchmark(tmp_path), Protocol(), device="cpu")


def test_summary():
    result = {"scores": {"miou": 25.0, "miou_low": 20.0, "miou_high": 31.5, "pixel_accuracy": 50.0,
                         "miou_foreground": 12.5},
              "per_class": {"a": 10.0, "b": 90.0, "c": 0.0}, "pictures": {"scored": 3, "of": 7},
              "images_per_second": 1.5, "protocol": {
                  "prompts": "simple", "refine": "pamr", "background": {"policy": "constant", "score": 0.4},
                  "windows": {"short_side": 448, "crop": 448, "stride": 224, "batch": 8}, "masks": None}}  # fmt: skip
    assert summary(result, most=2) == [
        "mIoU             25.00  (95 % 20.00 to 31.50)", "  foreground     12.50", "pixel accuracy   50.00",
        "worst classes   c 0.0, a 10.0", "best classes    b 90.0, a 10.0",
        "pictures        3 of 7, 1.50 a second",
        "protocol        prompts simple; refine pamr; background constant 0.4; windows 448, 448, 224"]  # fmt: skip
