"""Two models of segments as one."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from captionseg.inference.ensemble import Ensemble
from captionseg.inference.labelling import Labeller
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.protocols import ScoringOptions
from captionseg.model_inputs import Inputs
from captionseg.records import UserError


@pytest.fixture
def pair(searchable, tmp_path):
    """Folder of an ensemble of a `use` and the same with another head."""
    for name in ("a", "b"):
        shutil.copytree(searchable.model, tmp_path / name)
    path = tmp_path / "b" / "model.safetensors"
    weights = load_file(path)
    torch.manual_seed(0)
    save_file({k: v + 0.3 * torch.randn_like(v) for k, v in weights.items()}, path)
    (tmp_path / "both").mkdir()
    write(tmp_path, ["../a", "../b"])
    return tmp_path


def write(folder, names) -> None:
    (folder / "both" / "ensemble.json").write_text(json.dumps({"models": names}))


def inputs(reads_masks: bool) -> Inputs:
    torch.manual_seed(1)
    labels = (torch.arange(4)[:, None] // 2 * 2 + torch.arange(4) // 2).to(torch.uint8)[None]
    dense, masks = torch.rand(1, 4, 4, 3), torch.rand(1, 5, 8, 8) > 0.5
    return Inputs(
        torch.zeros(1, 4, 0),
        torch.ones(1, 4, dtype=torch.bool),
        labels,
        (8, 8),
        dense=dense,
        masks=masks if reads_masks else None,
    )


def test_scores_are_the_means_of_both(pair):
    loaded = {name: LoadedModel.load(pair / name, device="cpu") for name in ("a", "b", "both")}
    assert isinstance(loaded["both"].model, Ensemble)
    assert loaded["both"].context == loaded["a"].context
    classes = torch.randn(6, 16)
    for given in (inputs(True), inputs(False)):
        first, second, both = (one.model.mask_scores(given, classes) for one in loaded.values())
        assert not torch.allclose(first, second)
        torch.testing.assert_close(both, (first + second) / 2)
        torch.testing.assert_close(both.sum(2), torch.ones_like(both[..., 0]))


def test_pixels_have_the_scores_of_their_region(pair):
    given, classes = inputs(False), torch.randn(6, 16)
    model = LoadedModel.load(pair / "both", device="cpu").model
    scores = model.mask_scores(given, classes)
    pixels = model.segment(given, classes)
    assert pixels.shape == (1, 6, 8, 8)
    torch.testing.assert_close(pixels[0, :, 7, 0], scores[0, 2])
    assert torch.equal(model.label(given, classes), pixels.argmax(1))


def test_it_labels_pictures(pair):
    labeller = Labeller.load(pair / "both", ScoringOptions(device="cpu"), names=["dog", "grass"])
    assert labeller.label(inputs(False)).shape == (8, 8)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../a"], "names 1 models; give two or more"),
        (["../a", "../none"], "no such file"),
        (None, "names no models"),
    ],
)
def test_mistakes_are_one_line(pair, names, message):
    write(pair, names)
    with pytest.raises(UserError) as caught:
        LoadedModel.load(pair / "both", device="cpu")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_encoder_is_refused(pair):
    path = pair / "b" / "encoder" / "encoder.json"
    path.write_text(path.read_text().replace('"batch": 5', '"batch": 4'))
    with pytest.raises(UserError, match="was trained with another encoder than"):
        LoadedModel.load(pair / "both", device="cpu")
