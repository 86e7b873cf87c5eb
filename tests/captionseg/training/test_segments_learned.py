"""Recipes that learn from segments: trained, evaluated, and used on pictures."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from captionseg.benchmarks.benchmark import Folders as BenchmarkFolders
from captionseg.benchmarks.params import EvaluateParams
from captionseg.benchmarks.recipe import evaluate
from captionseg.inference.predictor import Predictor
from captionseg.inference.windows import Protocol
from captionseg.modeling.weights import saved
from captionseg.recipes import Recipe
from captionseg.records import UserError
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.hierarchy import Hierarchy
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.training import loader
from captionseg.training.augment import AugmentParams, Cropper
from captionseg.training.batches import Batches
from captionseg.training.curve import read as read_curve
from captionseg.training.params import PretrainParams, protocol_fields
from captionseg.training.pretrain import model_config, pretrain

MASKS = MasksParams(
    "hierarchy", hierarchy=Hierarchy(high=50000, maker=Felzenszwalb(side=16, sigma=0.0, min_size=8))
)


def test_a_recipe_learns_from_segments_and_labels_pictures(named, params, tmp_path):
    recipe = Recipe("cocu", "cocu", model="use")
    metrics = pretrain(
        recipe,
        replace(params, epochs=40, workers=1),
        named,
        name="x",
        out=tmp_path,
        context={"prompts": "simple", "regions": {"maker": "toy"}},
        tell=lambda *_: None,
    )
    assert metrics["tune_miou"] > 80
    assert set((tmp_path / "concepts.txt").read_text().split()) == {
        "dog",
        "cat",
        "bird",
        "sand",
        "water",
        "grass",
    }
    places = BenchmarkFolders(named.prepared, named.truth)
    result, *_ = evaluate(tmp_path, places, EvaluateParams(bootstrap=5, device="cpu"), seed=0)
    assert result["scores"]["miou"] > 80
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30], image[:, 30:] = (200, 40, 40), (20, 160, 160)
    for asked in (MasksParams(), MASKS):
        found = Predictor.load(tmp_path, device="cpu", protocol=Protocol(masks=asked))
        labels = found.segment(image, ["dog", "cat", "sand", "water"])
        assert (labels[:, :30] == 0).all()
        assert (labels[:, 30:] == 2).all()
    found = found.detect(image, ["dog", "cat"], ["sand", "water"])
    assert found.classes.tolist() == [0]
    assert np.array_equal(found.masks[0], np.tile(np.arange(60) < 30, (40, 1)))
    masks, *_ = evaluate(
        tmp_path, places, EvaluateParams(bootstrap=5, device="cpu", masks=MASKS), seed=0
    )
    assert masks["scores"]["miou"] > 80
    # a region is half a thing, a mask of the hierarchy all of it
    assert masks["scores"]["mask_map"] > 80
    assert result["scores"]["mask_map"] < 10


def test_masks_of_a_recipe_are_saved_with_its_model(named, params, tmp_path):
    given = Recipe("cocu", "cocu", model="use", masks=asdict(MASKS))
    with pytest.raises(UserError, match="masks: model segment_mil does not read segments"):
        protocol_fields(replace(given, model="segment_mil"))
    pretrain(
        given,
        replace(params, epochs=1, workers=1),
        named,
        name="r",
        context={"prompts": "simple"},
        out=tmp_path,
        tell=lambda *_: None,
    )
    assert saved.load(tmp_path).context["masks"]["maker"] == "hierarchy"
    # no regions are asked for: the context names no maker of them
    found = Predictor.load(tmp_path, device="cpu")
    assert found.protocol.masks == MASKS
    assert found.segment(np.zeros((20, 30, 3), np.uint8), ["dog", "cat"]).shape == (20, 30)


@pytest.fixture
def live(tmp_path) -> dict:
    """Settings of a model that sees crops of 32 pixels through a small convolutional network."""
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)
    return {
        "networks": [{"name": "test_resnet", "weights": str(path), "blocks": 4}],
        "crop": 32,
        "cell": 8,
    }


def test_crops_come_with_what_is_left_of_their_segments(named, live):
    reads = model_config(Recipe("cocu", "cocu", model="use", settings=live), PretrainParams()).reads
    data = loader.load(named, curation="cocu", archive="cocu", reads=reads)
    assert data.dense is None
    whole, far = (
        Cropper(AugmentParams(scales=(1.0, 1.0)), 32),
        Cropper(AugmentParams(scales=(3.0, 3.0)), 32),
    )
    batch = next(iter(Batches(data, batch=8, texts=3, seed=0, augment=whole)))
    half = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(4, 4)
    there = batch.segments.number[:, 0] >= 0
    for masks in batch.segments.masks[there]:
        torch.testing.assert_close(masks, torch.stack([half, 1 - half]))
    workers = DataLoader(
        Batches(data, batch=8, texts=3, seed=0, augment=far), batch_size=None, num_workers=2
    )
    left = [0, 0]
    for one, two in zip(workers, Batches(data, batch=8, texts=3, seed=0, augment=far), strict=True):
        assert torch.equal(one.segments.masks, two.segments.masks)
        assert torch.equal(one.image, two.image)
        there = one.segments.number[:, 0] >= 0
        torch.testing.assert_close(
            one.segments.masks.sum(1)[there], torch.ones(int(there.sum()), 4, 4)
        )
        area = one.segments.masks[there].sum((2, 3))
        left = [left[0] + int((area == 0).sum()), left[1] + int((area > 15.9).sum())]
    assert min(left) > 3  # crops of a third of a picture often show one half of it


def test_a_recipe_learns_from_crops_and_labels_whole_pictures(named, params, live, tmp_path):
    """Pipeline in small: loader, crops, live towers, polynomial schedule, tune, saved model,
    evaluation, predictor.
    """
    recipe = Recipe("cocu", "cocu", model="use", settings=live)
    params = replace(
        params, epochs=25, schedule="poly", warmup=4, augment=AugmentParams(scales=(0.8, 1.5))
    )
    metrics = pretrain(
        recipe,
        params,
        named,
        name="x",
        out=tmp_path / "model",
        tell=lambda *_: None,
        context={"prompts": "simple", "regions": {"maker": "toy"}},
    )
    rows = read_curve(tmp_path / "model" / "seeds" / "0" / "curve.csv")
    losses = [value for _, name, value in rows if name == "loss"]
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    assert sum(name == "segments_vanished" for _, name, _ in rows) == 25
    assert {step for step, name, _ in rows if name == "segments"} == set(range(3, 100, 4))
    assert metrics["tune_miou"] > 60
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 400_000
    places = BenchmarkFolders(named.prepared, named.truth)
    result, *_ = evaluate(
        tmp_path / "model", places, EvaluateParams(bootstrap=5, device="cpu"), seed=0
    )
    assert result["scores"]["miou"] > 60
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30], image[:, 30:] = (200, 40, 40), (20, 160, 160)
    labels = Predictor.load(tmp_path / "model", device="cpu").segment(
        image, ["dog", "cat", "sand", "water"]
    )
    assert labels.shape == (40, 60)
    assert (labels[:, :30] == 0).all()
    Path(live["networks"][0]["weights"]).unlink()
    with pytest.raises(UserError, match="no such file of weights"):
        Predictor.load(tmp_path / "model", device="cpu").segment(image, ["dog"])
