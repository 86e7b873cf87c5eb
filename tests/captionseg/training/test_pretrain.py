"""One recipe from folders to models: what is written, what a killed run keeps, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from captionseg.benchmarks.benchmark import Folders as BenchmarkFolders
from captionseg.benchmarks.params import EvaluateParams
from captionseg.benchmarks.recipe import evaluate
from captionseg.encoders.text_space import TextSpace
from captionseg.inference.predictor import Predictor
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Protocol
from captionseg.modeling.weights import saved
from captionseg.recipes import Recipe
from captionseg.records import UserError
from captionseg.text.prompts import embed_classes
from captionseg.text.tokenizers import tokenizer
from captionseg.training import pretrain as module
from captionseg.training import seeds as seeds_module
from captionseg.training import tuning
from captionseg.training.curve import read
from captionseg.training.model_card import write_card
from captionseg.training.params import PretrainParams
from captionseg.training.pretrain import pretrain


@pytest.fixture
def train(recipe, params, folders):
    def train(out, **changes):
        told = []
        metrics = pretrain(
            recipe,
            replace(params, **{"epochs": 2, **changes}),
            folders,
            name="cocu-mil",
            context={"prompts": "simple"},
            out=out,
            tell=lambda values, step: told.append((values, step)),
        )
        return metrics, told

    return train


def test_the_card_says_whose_data_it_learnt_from_and_what_was_measured(recipe, params, tmp_path):
    data = {"source": "folder", "ids": "0123456789abcdef"}
    write_card(
        tmp_path / "a.md",
        recipe,
        params,
        {0: {"loss": 1.5}, 1: {"loss": 1.25}},
        best=0,
        context={"recipe": "mine", "data": data},
    )
    text = (tmp_path / "a.md").read_text()
    assert "Learnt from `folder`, pairs 0123456789abcdef." in text
    assert "| seed | last loss |\n|---|---|\n| 0 | 1.500 |\n| 1 | 1.250 |\n" in text
    assert "seed 0, the first: no picture of the tune split has a mask" in text
    assert "nan" not in text
    assert "best on the tune split" not in text
    fits = {0: {"loss": 1.5, "tune_miou": 20.0}, 1: {"loss": 1.25, "tune_miou": 21.0}}
    write_card(tmp_path / "b.md", recipe, params, fits, best=1, context={"recipe": "mine"})
    text = (tmp_path / "b.md").read_text()
    assert "| 1 | 21.0 | 1.250 |\n" in text
    assert "seed 1, the best on the tune split" in text


def test_each_seed_and_the_best_at_the_top(train, tmp_path):
    metrics, told = train(tmp_path, seeds=[0, 1])
    assert {"loss", "tune_miou", "images_per_second", "seconds"} == metrics.keys()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.md",
        "concepts.txt",
        "config.json",
        "encoder",
        "model.safetensors",
        "seeds",
    ]
    assert metrics["seconds"] > 0
    fits = [json.loads((tmp_path / "seeds" / s / "fit.json").read_text()) for s in ("0", "1")]
    for seed in ("0", "1"):
        assert sorted(p.name for p in (tmp_path / "seeds" / seed).iterdir()) == [
            "config.json",
            "curve.csv",
            "fit.json",
            "model.safetensors",
        ]
    assert metrics["tune_miou"] == pytest.approx((fits[0]["tune_miou"] + fits[1]["tune_miou"]) / 2)
    best = max((0, 1), key=lambda s: fits[s]["tune_miou"])
    top = saved.load(tmp_path)
    assert top.context == {"prompts": "simple", "recipe": "cocu-mil", "seed": best}
    assert (tmp_path / "model.safetensors").read_bytes() == (
        tmp_path / "seeds" / str(best) / "model.safetensors"
    ).read_bytes()
    assert {name.split(".")[0] for values, _ in told for name in values} == {"seed0", "seed1"}


def test_the_model_learns_what_is_where(train, tmp_path):
    metrics, _ = train(tmp_path, epochs=25)
    guessing = 100 * (1 / 36) / (1 / 6 + 1 / 6 - 1 / 36)  # one of six classes at random: about 9
    assert metrics["tune_miou"] > 3 * guessing


def test_a_finished_seed_is_not_trained_again(train, tmp_path, monkeypatch):
    train(tmp_path, seeds=[0])
    kept = (tmp_path / "seeds" / "0" / "model.safetensors").stat().st_mtime_ns
    asked = []
    one_seed = seeds_module.train_seed
    monkeypatch.setattr(
        seeds_module, "train_seed", lambda *a, **k: asked.append(k["seed"]) or one_seed(*a, **k)
    )
    train(tmp_path, seeds=[0, 1])
    assert asked == [1]
    assert (tmp_path / "seeds" / "0" / "model.safetensors").stat().st_mtime_ns == kept


def test_the_same_seed_gives_the_same_model(train, tmp_path):
    for name in ("a", "b"):
        train(tmp_path / name)
    for file in ("model.safetensors", "config.json", "seeds/0/curve.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_without_truth_the_last_epoch_counts(recipe, params, folders, tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "classes.json").write_text('{"names": [], "kinds": []}')
    metrics = pretrain(
        recipe,
        replace(params, epochs=1),
        replace(folders, truth=tmp_path / "truth"),
        name="x",
        context={},
        out=tmp_path / "out",
        tell=lambda *_: None,
    )
    assert "tune_miou" not in metrics


def test_prompts_that_nobody_knows_are_refused_before_training(train, tmp_path, monkeypatch):
    monkeypatch.setattr(seeds_module, "train_seed", None)
    with pytest.raises(UserError, match="prompts: 'nobody' is not valid"):
        train(tmp_path, prompts="nobody")


def test_widths_and_statistics_come_from_the_data(make_model, data):
    model = make_model()
    assert (model.config.region_width, model.config.text_width) == (data.regions.shape[2], 16)
    real = torch.from_numpy(data.regions[data.rows][:, :4]).float().flatten(0, 1)
    torch.testing.assert_close(model.region_norm.mean, real.mean(0), atol=1e-4, rtol=1e-4)


def test_settings_of_a_recipe_replace_those_of_its_model(make_model):
    assert make_model(temperature=0.5).config.temperature == 0.5
    with pytest.raises(
        UserError, match=r"settings.temprature: unknown parameter; did you mean 'temperature'"
    ):
        make_model(temprature=0.5)


PIXELS = {
    "towers": {
        "encoder": {
            "tokens": "pixels",
            "size": 32,
            "patch": 8,
            "width": 16,
            "heads": 2,
            "depths": [1, 0],
            "group_tokens": [4, 0],
            "groups": [4],
        },
        "hidden": 16,
        "embedding": 16,
    }
}
CLIP = {"kind": "clip", "width": 16, "depth": 1, "heads": 2}
BERT = {"kind": "bert", "width": 16, "depth": 1, "heads": 2, "dropout": 0.0}


def with_text(text: dict) -> dict:
    return {"towers": {**PIXELS["towers"], "text": text}}


@pytest.mark.parametrize(
    ("model", "settings", "others"),
    [
        ("groupvit", PIXELS, {"encoder"}),
        ("groupvit", with_text(CLIP), set()),
        ("ovsegmentor", with_text(BERT), set()),
        ("ovsegmentor", with_text(BERT) | {"objective": "mlm_groups"}, set()),
    ],
)
def test_pixels_from_training_to_a_predictor(model, settings, others, params, folders, tmp_path):
    """What is trained on pixels is scored while it trains, saved, evaluated, and segments a picture
    of any size.
    """
    metrics = pretrain(
        Recipe("cocu", "cocu", model=model, settings=settings),
        replace(params, epochs=1, workers=1),
        folders,
        name="x",
        context={"prompts": "simple"},
        out=tmp_path,
        tell=lambda *_: None,
    )
    assert metrics["tune_miou"] >= 0.0
    assert {p.name for p in tmp_path.iterdir()} == {
        "README.md",
        "concepts.txt",
        "config.json",
        "model.safetensors",
        "seeds",
    } | others
    found = Predictor.load(tmp_path, device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    labels = found.segment(image, ["dog", "grass"])
    assert labels.shape == (90, 70)
    np.testing.assert_array_equal(labels, found.logits(image, ["dog", "grass"]).argmax(0))
    places = BenchmarkFolders(folders.prepared, folders.truth)
    result, *_ = evaluate(tmp_path, places, EvaluateParams(bootstrap=5, device="cpu"), seed=0)
    assert result["seeds"].keys() == {"0"}


def test_the_tokenizer_of_a_local_checkpoint_goes_with_the_model(params, folders, tmp_path):
    from transformers import BertConfig, BertModel

    checkpoint = tmp_path / "bert"
    BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(checkpoint)
    tokenizer("bert").save(checkpoint)
    settings = with_text({"kind": "bert", "weights": str(checkpoint)})
    recipe = Recipe("nouns", "nouns", model="groupvit", settings=settings)
    pretrain(
        recipe,
        replace(params, epochs=1),
        folders,
        name="x",
        context={"prompts": "simple"},
        out=tmp_path / "out",
        tell=lambda *_: None,
    )
    shutil.rmtree(checkpoint)
    assert (
        Predictor.load(tmp_path / "out", device="cpu")
        .segment(np.zeros((32, 32, 3), np.uint8), ["dog"])
        .max()
        == 0
    )


def test_weights_that_are_not_there_are_one_line(params, folders, tmp_path):
    settings = {
        "towers": {
            **PIXELS["towers"],
            "encoder": {**PIXELS["towers"]["encoder"], "weights": "none.pth"},
        }
    }
    for change, message in (
        (settings, "none.pth: no such file of weights"),
        (
            {"towers": {"encoder": {"tokens": "pixels", "size": 32, "backbone": "nobody"}}},
            "pretrain.groupvit: backbone: timm has no model 'nobody'",
        ),
    ):
        with pytest.raises(UserError, match=message):
            pretrain(
                Recipe("nouns", "nouns", model="groupvit", settings=change),
                params,
                folders,
                name="x",
                context={},
                out=tmp_path,
                tell=lambda *_: None,
            )


def test_what_was_named_is_written_down(train, tmp_path, data):
    train(tmp_path)
    names = (tmp_path / "concepts.txt").read_text().splitlines()
    assert names == sorted(set(names), key=data.concepts.index)
    assert set(names) == {data.concepts[c] for c in set(data.texts[:].flatten().tolist()) - {-1}}


def test_a_preset_is_where_a_recipe_starts_from():
    recipe = Recipe(
        "cocu", "cocu", "groupvit", "groupvit_tiny", {"towers": {"encoder": {"depths": [1, 1]}}}
    )
    config = module.model_config(recipe, PretrainParams())
    assert (config.towers.encoder.depths, config.towers.encoder.size, config.pool) == (
        [1, 1],
        112,
        "mean",
    )
    for change, message in (
        ({"preset": "groupvit_huge"}, "preset 'groupvit_huge' is not valid"),
        ({"preset": "ovsegmentor_base"}, "preset 'ovsegmentor_base' is not for model groupvit"),
    ):
        with pytest.raises(UserError, match=message):
            module.model_config(Recipe("cocu", "cocu", "groupvit", **change), PretrainParams())


def test_a_model_without_weights_to_learn_is_scored_and_saved(params, folders, tmp_path):
    told = []
    metrics = pretrain(
        Recipe("nouns", "nouns", model="maskclip"),
        params,
        folders,
        name="none-maskclip",
        context={"prompts": "simple", "regions": {"maker": "toy", "toy": {"side": 8}}},
        out=tmp_path,
        tell=lambda *_: told.append(1),
    )
    assert not told
    assert metrics.keys() == {"tune_miou", "images_per_second", "seconds"}
    net = saved.load(tmp_path).model
    space = TextSpace.load(folders.prepared.encoder)
    tune = tuning.load(folders, side=params.tune_side, reads=net.config.reads)
    classes = torch.from_numpy(embed_classes(tune.names, space.encode))
    assert metrics["tune_miou"] == pytest.approx(tune.mean_iou(net, classes))
    np.testing.assert_array_equal(net.head.weight, space.dense.weight)
    image = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    for method in ("none", "pamr", "segments"):
        found = Predictor.load(
            tmp_path, device="cpu", protocol=Protocol(refine=RefineParams(method, side=8))
        )
        assert found.segment(image, ["dog", "cat"]).shape == (40, 30)


def test_training_settings_and_refinement_of_a_recipe(recipe, params, folders, tmp_path):
    given = replace(
        recipe, training={"epochs": 1, "batch": 16}, refine={"method": "pamr", "side": 28}
    )
    pretrain(
        given,
        params,
        folders,
        name="r",
        context={"prompts": "simple"},
        out=tmp_path,
        tell=lambda *_: None,
    )
    steps = {
        step for step, name, _ in read(tmp_path / "seeds" / "0" / "curve.csv") if name == "loss"
    }
    assert len(steps) == 35 // 16
    assert saved.load(tmp_path).context["refine"]["side"] == 28
    with pytest.raises(UserError, match=r"recipes\.r\.training\.epoch"):
        pretrain(
            replace(recipe, training={"epoch": 1}),
            params,
            folders,
            name="r",
            context={},
            out=tmp_path,
            tell=lambda *_: None,
        )


def test_sam3_is_scored_and_saved_without_an_encoder(params, folders, tiny_sam3, tmp_path):
    settings = {"weights": tiny_sam3, "picture": 28}
    metrics = pretrain(
        Recipe("nouns", "nouns", model="sam3", settings=settings),
        params,
        folders,
        name="none-sam3",
        context={"prompts": "simple"},
        out=tmp_path,
        tell=lambda *_: None,
    )
    assert metrics.keys() == {"tune_miou", "images_per_second", "seconds"}
    assert not (tmp_path / "encoder").exists()
    assert (tmp_path / "tokenizer").is_dir()
    scene = BenchmarkFolders(folders.prepared, folders.truth)
    result = evaluate(tmp_path, scene, EvaluateParams(device="cpu", bootstrap=2), seed=0)
    assert result.result["protocol"]["prompts"] == "bare"
    assert "windows" not in result.result["protocol"]
