"""Loaded models that label: prompts, background, what a protocol asks of a model that cannot, and
an encoder that is another than that of the training.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.params import EvaluateParams
from captionseg.benchmarks.recipe import evaluate
from captionseg.encoders.dense_head import DenseHead, HeadConfig
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.class_embeddings import SETS
from captionseg.inference.labelling import Labeller
from captionseg.inference.predictor import Predictor
from captionseg.inference.protocols import PROTOCOLS, ScoringOptions, merge_with_preset
from captionseg.inference.segment_model import SegmentModel
from captionseg.inference.windows import Protocol, WindowParams
from captionseg.modeling.maskclip import MaskClip, MaskClipConfig
from captionseg.modeling.weights import saved
from captionseg.records import UserError
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.text.prompts import embed_classes

NAMES = ("background", "cat", "grass")


def load(folder: Path, options: ScoringOptions, **more) -> Labeller:
    frozen = functools.cache(lambda: load_encoder(folder / "encoder", device="cpu"))
    return Labeller.load(folder, options, names=NAMES, frozen=frozen, **more)


def test_as_saved(regions, toy):
    found = load(regions, ScoringOptions(device="cpu"))
    assert found.description == {
        "prompts": "simple",
        "refine": "none",
        "background": {"policy": "word", "score": None},
    }
    assert found.classes.shape == (3, 16)
    assert found.maker == toy.maker


def test_seven_templates(regions):
    found = load(regions, ScoringOptions(device="cpu"), default="subset")
    assert found.description["prompts"] == "subset"
    assert len(SETS["subset"]) == 7
    want = embed_classes(NAMES, found.loaded.frozen().text, SETS["subset"])
    np.testing.assert_allclose(found.classes.numpy(), want, atol=1e-6)
    other = load(regions, ScoringOptions(device="cpu", prompts="segment"), default="subset")
    assert other.description["prompts"] == "segment"
    assert not torch.equal(other.classes, found.classes)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_of_models_with_groups(groups, name):
    """The background is not prompted where a threshold makes it."""
    asked = ScoringOptions(merge_with_preset(name, Protocol()), threshold=0.75, device="cpu")
    found = load(groups, asked)
    assert found.description["name"] == name
    assert found.description["source"] == PROTOCOLS[name].source
    assert found.description["background"] == {
        "groupvit": {"policy": "threshold", "score": 0.75},
        "tcl": {"policy": "threshold", "score": 0.4},
    }.get(name, {"policy": "word", "score": None})
    assert len(found.classes) == (2 if name in ("groupvit", "tcl") else 3)
    assert found.description["prompts"] == PROTOCOLS[name].prompts
    assert found.protocol.masks == MasksParams()  # it reads no segments
    assert ("masks: it reads no segments" in found.description["skipped"]) == (name == "use")
    windows = {"use": 0, "groupvit": 448, "tcl": 448, "sclip": 224, "naclip": 224, "proxyclip": 336}
    assert found.description["windows"]["crop"] == windows[name]


def test_what_is_asked_comes_before_the_protocol(groups):
    asked = ScoringOptions(
        merge_with_preset("tcl", Protocol(WindowParams(9, 8, 7))), "simple", 0.1, device="cpu"
    )
    found = load(groups, asked)
    assert found.description["background"] == {"policy": "threshold", "score": 0.1}
    assert (found.description["prompts"], found.description["windows"]["crop"]) == ("simple", 8)


def test_masks_mean_nothing_to_a_model_that_reads_none(groups):
    found = load(groups, ScoringOptions(Protocol(masks=MasksParams("hierarchy")), device="cpu"))
    assert (found.segments, found.masks, SegmentModel.of(found.loaded)) == (None, None, None)
    assert found.protocol.masks == MasksParams()


def test_regions_are_made_only_where_nobody_left_them(regions):
    asked = ScoringOptions(device="cpu")
    assert load(regions, asked, regions=False).maker is None


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file; train a model first"):
        load(tmp_path / "none", ScoringOptions(device="cpu"))


def test_a_model_that_was_saved_without_its_regions_is_one_line(regions):
    config = regions / "config.json"
    config.write_text(config.read_text().replace('"maker": "toy"', '"maker": "lost"'))
    with pytest.raises(
        UserError, match=r"not a model of this version of captionseg: config.json, context: 'lost'"
    ):
        load(regions, ScoringOptions(device="cpu"))


def test_what_is_asked_changes_nothing_of_the_model(groups):
    """Every question is answered from what was saved, whichever were asked before."""
    loaded = load(groups, ScoringOptions(device="cpu")).loaded
    before = loaded.model.config
    for name in PROTOCOLS:
        asked = ScoringOptions(merge_with_preset(name, Protocol()), background=0.6, device="cpu")
        found = Labeller.of(loaded, asked, names=NAMES)
        assert found.protocol.zero_shot.background == 0.6
        assert found.protocol.zero_shot.top_k == (5 if name == "groupvit" else 0)
    assert loaded.model.config is before
    plain = Labeller.of(loaded, ScoringOptions(), names=NAMES).protocol.zero_shot
    assert (plain, plain.background) == (before.zero_shot, None)


def test_a_copied_block_with_another_activation_is_refused_by_benchmarks_too(
    toy, world, tmp_path, monkeypatch
):
    """Of a model that was trained when OpenAI's weights by path had GELU."""
    context = {"prompts": "simple"}
    model = MaskClip(MaskClipConfig(HeadConfig(4, 3, 8, quick=False)))
    saved.save(tmp_path / "seeds" / "0", "maskclip", model, context)
    encoder = SimpleNamespace(head=DenseHead(HeadConfig(4, 3, 8, quick=True)))
    monkeypatch.setattr("captionseg.benchmarks.recipe.load_encoder", lambda folder: encoder)
    folders, message = Folders(world.prepared, world.truth), "was trained with GELU .* QuickGELU"
    with pytest.raises(UserError, match=message):
        evaluate(tmp_path, folders, EvaluateParams(device="cpu"), seed=0)
    monkeypatch.setattr("captionseg.inference.loaded.load_encoder", lambda *_, **__: encoder)
    with pytest.raises(UserError, match=message):
        Predictor.load(tmp_path / "seeds" / "0", device="cpu")
