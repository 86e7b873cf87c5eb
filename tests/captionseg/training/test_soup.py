"""Several runs of a seed from one start, and the mean of their weights."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from captionseg.training import soup
from captionseg.training.fit import ALONE, FitResult
from captionseg.training.soup import average_weights, derive_seed, summarise_runs, train_seed

NAN = float("nan")


@pytest.fixture
def train(make_model, data, params):
    """folder, changed params -> the result of a seed of one epoch, and the model."""

    def train(folder, **changes):
        model = make_model(0)
        asked = replace(params, **{"epochs": 1, **changes})
        result = train_seed(
            model,
            data,
            asked,
            seed=3,
            score=None,
            folder=folder,
            tell=lambda *_: None,
            runtime=ALONE,
        )
        return result, model

    return train


def test_weights_are_the_mean_of_runs_and_the_first_is_what_a_seed_alone_is(
    train, tmp_path, monkeypatch
):
    kept = []
    monkeypatch.setattr(soup, "average_weights", lambda s: kept.extend(s) or average_weights(s))
    alone, _ = train(tmp_path / "alone")
    result, model = train(tmp_path / "soup", soup=3)
    assert len(kept) == 3
    for name, value in model.state_dict().items():
        assert torch.equal(kept[0][name], alone.state[name])
        torch.testing.assert_close(value, sum(state[name] for state in kept) / 3)
    weights = [state["region_head.0.weight"] for state in kept]
    assert not torch.equal(weights[0], weights[1])  # another order of pairs
    assert result.state.keys() == alone.state.keys()
    assert [path.name for path in (tmp_path / "soup").iterdir()] == ["curve.csv"]
    curve = (tmp_path / "soup" / "curve.csv").read_bytes()
    assert curve == (tmp_path / "alone" / "curve.csv").read_bytes()


def test_a_killed_seed_goes_on_after_its_finished_runs(train, tmp_path, monkeypatch):
    whole, _ = train(tmp_path / "whole", soup=2)
    seeds, one_run = [], soup.train_run

    def die_in_the_second(*rest, **keys):
        seeds.append(keys["seed"])
        if len(seeds) == 2:
            raise KeyboardInterrupt
        return one_run(*rest, **keys)

    monkeypatch.setattr(soup, "train_run", die_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", soup=2)
    again, _ = train(tmp_path / "killed", soup=2)
    assert seeds == [3, derive_seed(3, 1), derive_seed(3, 1)]
    assert all(torch.equal(value, again.state[name]) for name, value in whole.state.items())
    assert again.loss == pytest.approx(whole.loss)


def test_a_damaged_run_is_trained_again(tmp_path):
    soup.save_run(tmp_path, FitResult({"a": torch.ones(2)}, NAN, 1.5, 0.0, 0.0))
    found = soup.read_run(tmp_path)
    assert found is not None
    assert found.loss == 1.5
    assert np.isnan(found.tune_miou)
    (tmp_path / soup.WEIGHTS).write_bytes(b"half")
    assert soup.read_run(tmp_path) is None
    shutil.rmtree(tmp_path)
    assert soup.read_run(tmp_path) is None


def test_the_mean_of_floats_and_the_last_of_counters():
    states = [{"a": torch.tensor([1.0, 4.0]), "n": torch.tensor(k)} for k in (2, 3)]
    states[1]["a"] = torch.tensor([3.0, 0.0])
    found = average_weights(states)
    assert found["a"].tolist() == [2.0, 2.0]
    assert found["n"].item() == 3


def test_a_mean_that_is_worse_than_its_runs_is_said(caplog):
    runs = [
        FitResult({}, tune, loss, speed, 2.0)
        for tune, loss, speed in ((20.0, 1.0, 100.0), (22.0, 2.0, 0.0))
    ]
    result = summarise_runs(runs, {}, 5.0)
    assert (result.tune_miou, result.loss) == (5.0, 1.5)
    assert (result.images_per_second, result.seconds) == (100.0, 4.0)
    assert "has a tune mIoU of 5.0, the runs have 21.0" in caplog.text
    caplog.clear()
    summarise_runs(runs, {}, 23.0)
    summarise_runs([replace(run, tune_miou=NAN) for run in runs], {}, NAN)
    assert not caplog.text
