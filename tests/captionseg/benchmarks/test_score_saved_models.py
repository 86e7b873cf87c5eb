"""Saved models on benchmarks: the same labels as Predictor's, the same scores as the stage's, all
seeds of a recipe.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg import metrics
from captionseg.benchmarks import recipe as stage
from captionseg.benchmarks.areas import read as read_areas
from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.layout import Layout
from captionseg.benchmarks.mask_files import read_mask
from captionseg.benchmarks.own_split import HeldOut
from captionseg.benchmarks.params import EvaluateParams
from captionseg.benchmarks.published.catalogue import PUBLISHED, open_benchmark
from captionseg.benchmarks.recipe import seeds_of
from captionseg.benchmarks.score_saved_models import evaluate, format_result, write_areas
from captionseg.inference.image_files import read_image
from captionseg.inference.labelling import Labeller
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.predictor import Predictor
from captionseg.inference.protocols import ScoringOptions, merge_with_preset
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Background, Protocol, ResolvedProtocol, WindowParams
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import without_regions
from captionseg.records import UserError
from captionseg.reporting.differences import compute_difference
from tests.captionseg.benchmarks.trees import write_imagenet, write_own, write_parts, write_tree

RAW = np.repeat(np.arange(3), 8)[None].repeat(20, 0)
WINDOWS = WindowParams(40, 32, 16)


def benchmark(tmp_path, classes: str = "dog cat grass") -> FolderBenchmark:
    root = write_tree(tmp_path / "tree", "folder", [RAW, RAW[:, ::-1]])
    (root / "classes.txt").write_text(classes.replace(" ", "\n"))
    layout = PUBLISHED["folder"]
    assert isinstance(layout, Layout)
    return FolderBenchmark.open(layout, root)


def score(folder: Path, pictures: FolderBenchmark, asked: ScoringOptions) -> dict:
    """What a single model comes to; its only seed has the score of all."""
    result = evaluate({"": folder}, folder / "encoder", pictures, asked).result
    assert result["seeds"] == {"": result["scores"]["miou"]}
    return result


def by_hand(pictures: FolderBenchmark, predict) -> float:
    """mIoU of labels of whole pictures."""
    total = sum(
        metrics.areas(predict(read_image(item.image)), read_mask(item.mask), len(pictures.names))
        for item in pictures.items
    )
    return round(100 * float(metrics.mean_iou(total)), 4)


@pytest.mark.parametrize(
    "refine", [None, RefineParams("pamr", side=8, iterations=1), RefineParams("segments")]
)
def test_the_same_labels_as_the_predictor(regions, tmp_path, refine):
    pictures = benchmark(tmp_path)
    protocol = Protocol(refine=refine)
    result = score(regions, pictures, ScoringOptions(protocol, device="cpu", bootstrap=10))
    own = Predictor.load(regions, device="cpu", protocol=protocol)
    assert result["scores"]["miou"] == by_hand(
        pictures, lambda image: own.segment(image, pictures.names)
    )
    assert (
        result["scores"]["miou_low"]
        <= result["scores"]["miou"]
        <= result["scores"]["miou_high"]
        <= 100
    )
    assert result["protocol"]["refine"] == (refine.method if refine else "none")
    assert "windows" not in result["protocol"]
    assert "miou_foreground" not in result["scores"]


def test_windows_and_threshold(groups, tmp_path):
    """Some pixels fall below the threshold; those of the surest group never do."""
    pictures, protocol = benchmark(tmp_path, "background cat grass"), Protocol(WINDOWS)
    result = score(
        groups, pictures, ScoringOptions(protocol, background=0.9, device="cpu", bootstrap=5)
    )
    own = Predictor.load(groups, device="cpu", background=0.9, protocol=protocol)
    seen = []

    def predict(image):
        seen.append(own.segment(image, ["cat", "grass"]) + 1)
        return seen[-1]

    assert result["scores"]["miou"] == by_hand(pictures, predict)
    assert set(np.unique(seen)) >= {0, 1} or set(np.unique(seen)) >= {0, 2}
    assert result["protocol"]["background"] == {"policy": "threshold", "score": 0.9}
    assert result["protocol"]["windows"]["crop"] == 32
    assert set(result["scores"]) == {
        "miou",
        "miou_low",
        "miou_high",
        "miou_std",
        "pixel_accuracy",
        "boundary_f",
        "miou_foreground",
    }
    rest = [result["per_class"].get(name) for name in ("cat", "grass")]
    assert result["scores"]["miou_foreground"] == pytest.approx(np.mean(rest), abs=1e-3)


def test_without_threshold_the_word_is_a_class(groups, tmp_path):
    pictures, protocol = benchmark(tmp_path, "background cat grass"), Protocol(WINDOWS)
    result = score(groups, pictures, ScoringOptions(protocol, device="cpu", bootstrap=5))
    own = Predictor.load(groups, device="cpu", protocol=protocol)
    assert result["protocol"]["background"] == {"policy": "word", "score": None}
    assert result["scores"]["miou"] == by_hand(
        pictures, lambda image: own.segment(image, pictures.names)
    )


def test_a_constant_background_takes_what_is_below_it(tmp_path):
    logits = torch.tensor([[[0.1, 0.6, 0.3]], [[0.2, 0.5, 0.4]]])
    model = SimpleNamespace(
        config=SimpleNamespace(reads=InputSpec()),
        segment=lambda inputs, classes: logits[None],
        label=lambda inputs, classes: logits[None].argmax(1),
    )
    inputs, classes = without_regions(1, (1, 3)), torch.zeros(2, 4)
    for policy, labels in (
        (Background("constant", 0.4), [[0, 1, 2]]),
        (Background("constant", 0.7), [[0, 0, 0]]),
        (Background("word"), [[1, 0, 1]]),
        (Background("threshold", 0.4), [[2, 1, 2]]),
    ):
        loaded = LoadedModel(model, tmp_path, lambda: None, "cpu")  # type: ignore[arg-type]
        protocol = ResolvedProtocol(background=policy)
        labeller = Labeller(loaded, protocol, classes=classes)
        assert labeller.predict(inputs).tolist() == labels


def test_all_seeds_of_a_recipe(recipe, world, tmp_path):
    """The mean over seeds, their deviation, and each by itself; the same bytes each time."""
    pictures, _ = open_benchmark(
        PUBLISHED["held_out"], write_own(tmp_path / "root", world), limit=5
    )
    asked = ScoringOptions(device="cpu", bootstrap=20)
    folders = seeds_of(recipe)
    assert list(folders) == [0, 2, 10]
    result, speed, _ = evaluate(folders, recipe / "encoder", pictures, asked)
    alone = {
        str(seed): evaluate({seed: folder}, recipe / "encoder", pictures, asked).result["scores"][
            "miou"
        ]
        for seed, folder in folders.items()
    }
    assert result["seeds"] == alone
    assert len(set(alone.values())) > 1
    assert result["scores"]["miou"] == pytest.approx(np.mean(list(alone.values())), abs=1e-3)
    assert result["scores"]["miou_std"] == pytest.approx(
        np.std(list(alone.values()), ddof=1), abs=1e-3
    )
    assert evaluate(folders, recipe / "encoder", pictures, asked).result == result
    assert speed > 0


def test_areas_of_all_seeds_are_written_for_a_difference(recipe, tmp_path):
    """Their mIoU is that of the result; a recipe does not differ from itself."""
    pictures, asked = benchmark(tmp_path), ScoringOptions(device="cpu", bootstrap=5)
    result, _, measured = evaluate(seeds_of(recipe), recipe / "encoder", pictures, asked)
    for name in ("one", "other"):
        write_areas(pictures, measured, tmp_path / "areas" / f"{name}.parquet")
    (areas,) = read_areas([tmp_path / "areas" / "one.parquet"], len(pictures.names))
    assert areas.shape == (2, 3, 3, len(pictures.names))
    miou = 100 * metrics.mean_iou(areas.sum(0))
    assert miou.tolist() == pytest.approx(list(result["seeds"].values()), abs=1e-3)
    same = compute_difference(tmp_path / "areas", "one", "other", samples=5, seed=0)
    assert same == pytest.approx((0.0, 0.0, 0.0, 0.5))


def test_the_runs_own_data_score_as_in_the_stage(recipe, world, tmp_path):
    """Also the means of things and of stuff."""
    own, _ = open_benchmark(PUBLISHED["held_out"], write_own(tmp_path / "root", world))
    assert isinstance(own, HeldOut)
    result, *_ = evaluate(
        seeds_of(recipe), recipe / "encoder", own, ScoringOptions(device="cpu", bootstrap=9, seed=3)
    )
    params = EvaluateParams(bootstrap=9, device="cpu")
    want = stage.evaluate(recipe, Folders(world.prepared, world.truth), params, seed=3).result
    assert result["scores"] == {
        key: value for key, value in want["scores"].items() if key in result["scores"]
    }
    assert {"miou", "miou_object", "miou_stuff"} <= result["scores"].keys()
    assert (result["per_class"], result["seeds"]) == (want["per_class"], want["seeds"])


@pytest.mark.parametrize(
    ("name", "main", "keys"),
    [
        (
            "imagenet",
            "acc1",
            {"acc1_low", "acc1_high", "acc1_std", "acc5", "acc5_low", "acc5_high"},
        ),
        ("part_imagenet", "map", {"map_50", "map_75", "map_std"}),
    ],
)
def test_other_measures_of_a_recipe(recipe, tmp_path, name, main, keys):
    root = (
        write_imagenet(tmp_path / "r", [0, 3])
        if name == "imagenet"
        else write_parts(tmp_path / "r")
    )
    pictures, _ = open_benchmark(PUBLISHED[name], root, limit=2)
    result, *_ = evaluate(
        seeds_of(recipe), recipe / "encoder", pictures, ScoringOptions(device="cpu", bootstrap=3)
    )
    assert result["scores"].keys() == {main} | keys
    assert result["seeds"].keys() == {"0", "2", "10"}
    assert result["scores"][main] == pytest.approx(
        np.mean(list(result["seeds"].values())), abs=1e-3
    )
    assert result["protocol"]["prompts"] == ("subset" if name == "imagenet" else "simple")
    assert format_result({**result, "pictures": {"scored": 2, "of": 2}}, 1.0)


@pytest.mark.parametrize("protocol", ["", "use"])
@pytest.mark.parametrize("name", ["folder", "imagenet", "part_imagenet"])
def test_a_model_on_segments(searchable, tmp_path, name, protocol):
    """Regions as it was saved, overlapping masks under the protocol of its paper."""
    root = {
        "folder": lambda: write_tree(tmp_path, name, [RAW]),
        "imagenet": lambda: write_imagenet(tmp_path, [0]),
        "part_imagenet": lambda: write_parts(tmp_path),
    }[name]()
    pictures, _ = open_benchmark(PUBLISHED[name], root, limit=1)
    asked = ScoringOptions(
        merge_with_preset("use", Protocol()) if protocol else Protocol(), device="cpu", bootstrap=2
    )
    result, *_ = evaluate({"": searchable.model}, searchable.model / "encoder", pictures, asked)
    said = result["protocol"]
    assert said["masks"] == ("hierarchy" if protocol else "regions")
    assert said["prompts"] == (
        "subset" if name == "imagenet" else "imagenet" if protocol else "simple"
    )
    assert said.get("skipped", []) == []
    assert said.get("detections", "masks") == "masks"


def test_no_seed_is_one_line(tmp_path):
    (tmp_path / "seeds" / "notes").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="no trained seed; run"):
            seeds_of(folder)


def test_summary():
    result = {
        "scores": {
            "miou": 25.0,
            "miou_low": 20.0,
            "miou_high": 31.5,
            "miou_std": 1.25,
            "pixel_accuracy": 50.0,
            "miou_foreground": 12.5,
        },
        "per_class": {"a": 10.0, "b": 90.0, "c": 0.0},
        "pictures": {"scored": 3, "of": 7},
        "seeds": {"0": 24.0, "1": 26.0},
        "protocol": {
            "name": "tcl",
            "skipped": ["windows: none"],
            "prompts": "simple",
            "refine": "pamr",
            "background": {"policy": "constant", "score": 0.4},
            "windows": {"short_side": 448, "crop": 448, "stride": 224, "batch": 8},
            "masks": None,
        },
    }
    assert format_result(result, 1.5, most=2) == [
        "mIoU             25.00  (95 % 20.00 to 31.50)",
        "  sd over seeds   1.25",
        "  foreground     12.50",
        "pixel accuracy   50.00",
        "worst classes   c 0.0, a 10.0",
        "best classes    b 90.0, a 10.0",
        "pictures        3 of 7, 1.50 a second",
        "protocol        tcl; prompts simple; refine pamr; background constant 0.4; windows 448, "
        "448, 224",
        "  not done      windows: none",
    ]
    result["seeds"] = {"": 25.0}
    assert "  sd over seeds   1.25" not in format_result(result, 1.5)
