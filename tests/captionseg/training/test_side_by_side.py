"""Seeds of a recipe that are trained at the same time, in forks of one process."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from multiprocessing import active_children

import pytest
import torch

from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.training import checkpoint, seeds, side_by_side
from captionseg.training.params import PretrainParams
from captionseg.training.pretrain import pretrain
from captionseg.training.side_by_side import count_at_once

TWO = RuntimeParams(workers=2)


@pytest.fixture
def train(recipe, params, folders):
    """folder, runtime -> metrics, and what was told."""

    def train(out, runtime=TWO):
        told = []
        metrics = pretrain(
            recipe,
            replace(params, epochs=2, seeds=[0, 1, 2]),
            folders,
            name="cocu-mil",
            context={},
            out=out,
            tell=lambda values, step: told.append((values, step)),
            runtime=runtime,
        )
        return metrics, told

    return train


@pytest.fixture(scope="module")
def alone(recipe, params, folders, tmp_path_factory):
    """One seed after another: its files, its metrics and what it told."""
    folder, told = tmp_path_factory.mktemp("alone"), []
    metrics = pretrain(
        recipe,
        replace(params, epochs=2, seeds=[0, 1, 2]),
        folders,
        name="cocu-mil",
        context={},
        out=folder,
        tell=lambda values, step: told.append((values, step)),
    )
    return read_all(folder), metrics, told


def read_all(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_bytes_side_by_side_and_after_a_process_was_killed(
    train, alone, tmp_path, monkeypatch
) -> None:
    """Seed 1 is killed after its first epoch, begins again and goes on from its checkpoint."""
    whole = checkpoint.CheckpointCallback.on_train_epoch_start
    began = tmp_path / "began"

    def kill_once(self, trainer, module) -> None:
        if self.batches.seed == 1:
            with began.open("a") as stream:
                stream.write(f"{trainer.current_epoch} ")
            if began.read_text() == "0 1 ":
                os.kill(os.getpid(), signal.SIGKILL)
        whole(self, trainer, module)

    monkeypatch.setattr(checkpoint.CheckpointCallback, "on_train_epoch_start", kill_once)
    metrics, told = train(tmp_path / "out")
    files, wanted, told_alone = alone
    assert began.read_text() == "0 1 1 "
    assert read_all(tmp_path / "out") == files
    assert {key: metrics[key] for key in ("loss", "tune_miou")} == {
        key: wanted[key] for key in ("loss", "tune_miou")
    }
    assert metrics["images_per_second"] > 0
    assert sorted(map(json.dumps, told)) == sorted(map(json.dumps, told_alone))


def test_a_mistake_of_one_seed_is_one_line_and_ends_the_others(train, tmp_path, monkeypatch):
    def train_seed(*_, seed: int, **__):
        if seed == 1:
            raise UserError("loss is nan at step 3; lower pretrain.learning_rate")
        signal.pause()

    monkeypatch.setattr(seeds, "train_seed", train_seed)
    with pytest.raises(UserError, match=r"^loss is nan at step 3; lower pretrain\.learning_rate$"):
        train(tmp_path)
    assert not active_children()


def test_how_many_seeds_are_trained_at_once(monkeypatch) -> None:
    params, regions = PretrainParams(device="cpu"), InputSpec()
    cores = {2: {1: 2, 2: 3}, 8: {1: 8, 2: 6, 8: 3}, 1: {1: 1, 2: 2}}
    for count, expected in cores.items():
        monkeypatch.setattr(side_by_side, "count_cores", lambda count=count: count)
        for threads, most in expected.items():
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            assert count_at_once(params, RuntimeParams(), regions, 9) == most
            assert count_at_once(params, RuntimeParams(), regions, 2) == min(2, most)
            assert count_at_once(params, RuntimeParams(), regions, 0) == 1
    assert count_at_once(params, HERE, regions, 9) == 1
    assert count_at_once(params, RuntimeParams(workers=5), regions, 9) == 5
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert count_at_once(params, RuntimeParams(fan_out="ray", workers=5), regions, 9) == 1
    for runtime in (RuntimeParams(devices=2, workers=5), RuntimeParams(nodes=2, workers=5)):
        assert count_at_once(params, runtime, regions, 9) == 1
    for reads in (InputSpec(picture=224), InputSpec(dense=True)):
        assert count_at_once(params, RuntimeParams(workers=5), reads, 9) == 1
    loaders = replace(params, workers=2)
    assert count_at_once(loaders, RuntimeParams(workers=5), regions, 9) == 1
    monkeypatch.setattr(side_by_side, "can_fork", lambda: False)
    assert count_at_once(params, RuntimeParams(workers=5), regions, 9) == 1
