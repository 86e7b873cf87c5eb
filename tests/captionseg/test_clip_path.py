"""A CLIP checkpoint given by its file, from the index to masks, by every model on a frozen
encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch

from captionseg.benchmarks.benchmark import Folders as BenchmarkFolders
from captionseg.benchmarks.params import EvaluateParams
from captionseg.benchmarks.recipe import evaluate
from captionseg.encoders.open_clip import OpenClipParams
from captionseg.index_params import IndexParams
from captionseg.inference.predictor import Predictor
from captionseg.modeling.weights import saved
from captionseg.recipes import Recipe
from captionseg.training.loader import Folders
from captionseg.training.params import PretrainParams
from captionseg.training.pretrain import pretrain
from captionseg.training.seeds import is_finished
from tests.captionseg.conftest import TwoColours, World, make_world
from tests.captionseg.modeling.conftest import networks  # noqa: F401

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 1},
}
PARAMS = PretrainParams(epochs=2, batch=12, learning_rate=1e-3, texts=3, device="cpu", tune_side=8)
LAYERS = 2
DEEP = {"adapter": 0, "gate": 0.1}


def clip_world(root: Path, toy, model: str, source: TwoColours | None = None) -> World:
    """With random weights from a file, half precision as such files come."""
    torch.manual_seed(0)
    weights = open_clip.create_model(model).state_dict()
    torch.save(
        {k: v.half() if v.is_floating_point() else v for k, v in weights.items()},
        root / "weights.pt",
    )
    chosen = OpenClipParams(
        model, str(root / "weights.pt"), batch=8, dense="tokens", activation="gelu"
    )
    params = IndexParams(
        encoder="open_clip", open_clip=chosen, backend="exact", neighbours=8, keep_dense=True
    )
    return make_world(root, SimpleNamespace(source=source or toy.source, maker=toy.maker), params)


@pytest.fixture(scope="module")
def base(toy, tmp_path_factory) -> World:
    """ViT-B-16 with fewer layers: its widths, its 224 pixels and its 196 patches. A picture costs
    much, so there are half as many.
    """
    config = open_clip.get_model_config("ViT-B-16")
    for tower in ("vision_cfg", "text_cfg"):
        config[tower]["layers"] = LAYERS
    root = tmp_path_factory.mktemp("base")
    (root / "ViT-B-16-path.json").write_text(json.dumps(config))
    open_clip.add_model_config(root)
    few = TwoColours((("train", 18), ("tune", 4), ("test", 4)))
    return clip_world(root, toy, "ViT-B-16-path", few)


@pytest.fixture(scope="module")
def tiny(toy, tmp_path_factory) -> World:
    root = tmp_path_factory.mktemp("tiny")
    (root / "tiny-path.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(root)
    return clip_world(root, toy, "tiny-path")


def run(world: World, recipe: Recipe, out: Path, **changes) -> dict:
    """Train, score, and label a picture; what was scored."""
    found = pretrain(
        recipe,
        replace(PARAMS, **changes),
        Folders(world.prepared, world.supervision, world.truth),
        name="recipe",
        context={"prompts": "simple", "regions": {"maker": "toy"}},
        out=out,
        tell=lambda *_: None,
    )
    assert np.isfinite(found["tune_miou"])
    scored = evaluate(
        out, BenchmarkFolders(world.prepared, world.truth), EvaluateParams(bootstrap=2), seed=0
    ).result
    assert 0 <= scored["scores"]["miou"] <= 100
    predictor = Predictor.load(out, device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    labels = predictor.segment(picture, ["dog", "grass", "water"])
    assert labels.shape == (40, 56)
    assert set(np.unique(labels)) <= {0, 1, 2}
    return scored


RECIPES = {
    "maskclip": Recipe("nouns", "nouns", "maskclip"),
    "tcl": Recipe("nouns", "nouns", "tcl", settings={"late_from": 0.5, "grounder": DEEP}),
    "code": Recipe("cocu", "cocu", "code", settings={"tcl": {"late_from": 0.5, "grounder": DEEP}}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_vit_b_16_from_a_file(base, tmp_path, name):
    run(base, RECIPES[name], tmp_path / name, epochs=1, batch=8)
    weights = (tmp_path / name / "model.safetensors").stat().st_size
    assert weights < 80e6  # the frozen towers are not saved with the model


LIVE = {"picture": 32, "late_from": 0.5, "grounder": DEEP | {"blocks": 2, "factor": 2}}


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("nouns", "nouns", "tcl", settings=LIVE),
        Recipe(
            "cocu",
            "cocu",
            "code",
            settings={"tcl": LIVE, "words": {"labels": "string", "context": 16}},
        ),
        Recipe("nouns", "nouns", "tcl", preset="tcl_released", settings={"picture": 32}),
        Recipe("nouns", "nouns", "code", preset="code_released", settings={"tcl": {"picture": 32}}),
    ],
    ids=["tcl", "code", "tcl_released", "code_released"],
)
def test_pictures_through_the_frozen_encoder(tiny, tmp_path, recipe):
    """As published: augmented pictures in training, masked pictures for losses, sliding windows in
    inference.
    """
    run(tiny, recipe, tmp_path / "model")


@pytest.mark.parametrize("model", ["maskclip", "sclip", "naclip", "proxyclip"])
def test_what_trains_nothing_stands_beside_it(tiny, networks, tmp_path, model):  # noqa: F811
    """On the index of the recipes above, whose dense features are the tokens they train on."""
    settings: dict = {"picture": 32}
    if model == "proxyclip":
        settings["foundation"] = vars(replace(networks[0], blocks=0))
    scored = run(tiny, Recipe("nouns", "nouns", model, settings=settings), tmp_path / "model")
    assert scored["protocol"]["windows"]
    assert is_finished(tmp_path / "model" / "seeds" / "0")
    weights = saved.load(tmp_path / "model").model.state_dict()
    assert bool(weights) == (model == "maskclip")  # that of the encoder's last block


def test_the_copied_block_trains_late(tiny, tmp_path):
    run(tiny, RECIPES["tcl"], tmp_path / "early", epochs=1, batch=5)
    never = replace(RECIPES["tcl"], settings={"late_from": 1.0, "grounder": DEEP})
    run(tiny, never, tmp_path / "never", epochs=1, batch=5)
    early, never = (saved.load(tmp_path / name).model for name in ("early", "never"))
    assert all(
        torch.equal(a, b)
        for a, b in zip(never.late_parameters(), never.frozen.block.parameters(), strict=True)
    )
    assert not any(
        torch.equal(a, b)
        for a, b in zip(early.late_parameters(), early.frozen.block.parameters(), strict=True)
    )
    # the projection trains from the start
    assert not torch.equal(never.grounder.head.weight, never.frozen.weight)
