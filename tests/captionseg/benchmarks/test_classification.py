"""Ranks of the right class, the middle square, and both scores with their intervals."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg.benchmarks.classification import (
    ClassificationSet,
    Item,
    crop_centre,
    rank_of_class,
    rank_pictures,
    summarise_ranks,
)
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.image_files import read_image
from captionseg.inference.labelling import Labeller
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.protocols import ScoringOptions
from captionseg.modeling.segmenter import InputSpec
from tests.captionseg.benchmarks.trees import picture


def test_of_equal_scores_the_first_class_is_found():
    scores = np.array([0.1, 0.5, 0.5, 0.9])
    assert [rank_of_class(scores, label) for label in range(4)] == [4, 2, 3, 1]
    assert [rank_of_class(np.zeros(3), label) for label in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("size", "side", "shape"),
    [
        ((80, 160), 0, 70),
        ((160, 80), 0, 70),
        ((1, 9), 0, 1),
        ((100, 300), 224, 224),
        ((9, 7), 224, 224),
    ],
)
def test_the_middle_square(size, side, shape):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    found = crop_centre(image, side)
    assert found.shape == (shape, shape, 3)
    if size == (80, 160):
        np.testing.assert_array_equal(found, image[5:75, 45:115])


def test_256_and_224():
    """A picture of 256 pixels is only cut."""
    image = np.random.default_rng(0).integers(0, 255, (256, 300, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crop_centre(image, 224), image[16:240, 38:262])


def of(
    labels: list[int], names=("cat", "dog", "crane", "crane", "e", "f", "g")
) -> ClassificationSet:
    return ClassificationSet(
        names, tuple(Item(str(n), Path(), label) for n, label in enumerate(labels))
    )


def test_scores_by_hand():
    """Seeds right in 1 and 3 of 4 pictures, and 3 and 4 of them among five; two classes of one name
    stay two.
    """
    runs = [np.array([1, 2, 6, 5]), np.array([1, 1, 5, 1])]
    found, classes = summarise_ranks(runs, of([0, 0, 2, 3]), ScoringOptions(bootstrap=200))
    assert {key: found[key] for key in ("acc1", "acc5", "acc1_std")} == {
        "acc1": 50.0,
        "acc5": 87.5,
        "acc1_std": pytest.approx(35.3553),
    }
    assert found["acc1_low"] < 50 < found["acc1_high"]
    assert 50 <= found["acc5_low"] < found["acc5_high"] == 100
    assert classes == {"cat": 75.0, "crane (2)": 0.0, "crane (3)": 50.0}
    assert (
        summarise_ranks(runs[:1], of([0, 0, 2, 3]), ScoringOptions(bootstrap=2))[0]["acc1_std"]
        == 0.0
    )


def test_the_interval_covers():
    """Of 200 data sets with a true accuracy of 60 %, about 95 of 100 intervals hold it."""
    rng, inside = np.random.default_rng(0), 0
    for seed in range(200):
        ranks = np.where(rng.random(150) < 0.6, 1, 9)
        found, _ = summarise_ranks([ranks], of([0] * 150), ScoringOptions(bootstrap=300, seed=seed))
        inside += found["acc1_low"] <= 60 <= found["acc1_high"]
    assert 180 <= inside <= 198


def stub(model, frozen=lambda: None, **parts) -> Labeller:
    loaded = LoadedModel(model, Path(), frozen, "cpu")  # type: ignore[arg-type]
    return Labeller(loaded, **{"classes": torch.eye(2, 16), **parts})


def test_pictures_come_as_the_model_reads_them(tmp_path):
    for number in range(2):
        picture(tmp_path / f"{number}.png", (20, 30))
    seen = []

    def image_logits(inputs, classes):
        seen.append(inputs.image.shape)
        return torch.tensor([[0.0, 1.0]])

    items = tuple(Item(str(n), tmp_path / f"{n}.png", n) for n in range(2))
    model = SimpleNamespace(
        config=SimpleNamespace(reads=InputSpec(picture=8, tokens="clip")), image_logits=image_logits
    )
    assert rank_pictures(
        stub(model), ClassificationSet(("a", "b"), items), ScoringOptions()
    ).tolist() == [2, 1]
    assert seen == [(1, 3, 8, 8)] * 2


@pytest.mark.parametrize("aligned", [True, False])
def test_models_on_frozen_features_ask_the_encoder(toy, tmp_path, aligned):
    """Where its pooled features lie in the space of texts; else the mean of what the model says of
    cells.
    """
    picture(tmp_path / "0.png", (24, 24))
    encoder = toy.params(aligned=aligned).build(None)
    inner = crop_centre(read_image(tmp_path / "0.png"), 0)
    classes = torch.from_numpy(encoder.text(["dog", "cat"]))
    model = SimpleNamespace(
        config=SimpleNamespace(reads=InputSpec(dense=True)),
        segment=lambda inputs, classes: torch.tensor([0.0, 1.0])[None, :, None, None],
    )
    labeller = stub(model, lambda: encoder, classes=classes)
    found = rank_pictures(
        labeller,
        ClassificationSet(("dog", "cat"), (Item("0", tmp_path / "0.png", 1),)),
        ScoringOptions(),
    )
    scores = (
        encoder.features([inner]).pooled @ classes.numpy().T if aligned else np.array([[0.0, 1.0]])
    )
    assert found.tolist() == [rank_of_class(scores[0], 1)]


def test_regions_of_the_middle(toy, world, tmp_path):
    picture(tmp_path / "0.png", (24, 24))
    seen = []

    def image_logits(inputs, classes):
        seen.append(inputs.regions)
        return torch.zeros(1, 2)

    model = SimpleNamespace(config=SimpleNamespace(reads=InputSpec()), image_logits=image_logits)
    labeller = stub(model, lambda: load_encoder(world.encoder), maker=toy.maker)
    rank_pictures(
        labeller,
        ClassificationSet(("a", "b"), (Item("0", tmp_path / "0.png", 0),)),
        ScoringOptions(),
    )
    assert seen[0].shape[1] == 4
