"""One recipe from folders to models: what is written, what a killed run keeps, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from captionseg.modeling import saved
from captionseg.records import UserError
from captionseg.training import pretrain as module
from captionseg.training.pretrain import Folders, pretrain


@pytest.fixture
def folders(world) -> Folders:
    return Folders(world.index, world.regions, world.supervision, world.truth, world.encoder)


@pytest.fixture
def train(recipe, params, folders):
    def train(out, **changes):
        told = []
        metrics = pretrain(
            recipe, replace(params, **{"epochs": 2, **changes}), folders, name="cocu-mil",
            context={"prompts": "simple"}, out=out, tell=lambda values, step: told.append((values, step)),
        )  # fmt: skip
        return metrics, told

    return train


def test_each_seed_and_the_best_at_the_top(train, tmp_path):
    metrics, told = train(tmp_path, seeds=[0, 1])
    assert {"loss", "tune_miou", "images_per_second", "seconds"} == metrics.keys()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.md",
        "config.json",
        "encoder",
        "model.safetensors",
        "seeds",
    ]
    assert metrics["seconds"] > 0
    fits = [json.loads((tmp_path / "seeds" / s / "fit.json").read_text()) for s in ("0", "1")]
    for seed in ("0", "1"):
        assert sorted(p.name for p in (tmp_path / "seeds" / seed).iterdir()) == [
            "config.json", "curve.csv", "fit.json", "model.safetensors",
        ]  # fmt: skip
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
    one_seed = module.one_seed
    monkeypatch.setattr(module, "one_seed", lambda *a, **k: asked.append(k["seed"]) or one_seed(*a, **k))
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
    metrics = pretrain(recipe, replace(params, epochs=1), replace(folders, truth=tmp_path / "truth"), name="x",
                       context={}, out=tmp_path / "out", tell=lambda *_: None)  # fmt: skip
    assert "tune_miou" not in metrics


def test_widths_and_statistics_come_from_the_data(make_model, data):
    model = make_model()
    assert (model.config.region_width, model.config.text_width) == (data.regions.shape[2], 16)
    real = torch.from_numpy(data.regions[data.rows][:, :4]).float().flatten(0, 1)
    torch.testing.assert_close(model.mean, real.mean(0), atol=1e-4, rtol=1e-4)


def test_settings_of_a_recipe_replace_those_of_its_model(make_model):
    assert make_model(temperature=0.5).config.temperature == 0.5
    with pytest.raises(UserError, match=r"recipes: segment_mil has no setting 'temprature' \(valid: region_width"):
        make_model(temprature=0.5)
