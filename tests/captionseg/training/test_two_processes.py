"""Processes that train together, by gloo on the CPU, against one that trains alone; see
two_processes.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from captionseg.runtime.launch import find_free_port
from captionseg.training.curve import read

SCRIPT = Path(__file__).with_name("two_processes.py")
MODELS = ("mil", "tcl", "ovsegmentor", "groupvit")
SHARDED = ("tcl", "ovsegmentor")


def start(folder: Path, runtime: dict, *models: str, **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), json.dumps(runtime), *models],
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What a process that ends well has said."""
    _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error[-3000:]
    return error


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def alone(script, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    script.main(folder, MODELS)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Two machines of a process each, started as a person and as torchrun would; see `shards` for
    how often.
    """
    folder = tmp_path_factory.mktemp("two")
    place = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
        "STOP": "mil:8",
    }
    torchrun = {"RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    nodes = [
        start(folder, {"nodes": 2, "checkpoint_steps": 3}, **place, **own)
        for own in ({"NODE_RANK": "0"}, torchrun)
    ]
    try:
        for node in nodes:
            ended(node)
    finally:
        for node in nodes:
            node.kill()
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Two processes with FSDP, which one starts; undisturbed, and stopped in the second epoch and
    gone on with.
    """
    folder = tmp_path_factory.mktemp("shards")
    ended(
        start(
            folder,
            {"devices": 2, "strategy": "fsdp", "checkpoint_steps": 3},
            *SHARDED,
            STOP="tcl:8",
        )
    )
    return folder


def state(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{name}.safetensors")


SHIFTS = ("towers.vision.norm.bias", "projector.fc1.bias", "projector.norm.running_mean")


def agree(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Equal weights, but biases of keys: their gradients are rounding, which Adam makes steps
    of. So are those of what a batch norm takes away; where there is one, few are more than that.
    """
    assert found.keys() == wanted.keys()
    batch = "towers.image_projector.norm.running_mean" in wanted
    for key, value in wanted.items():
        loose = 1e-2 if batch or key.endswith(("qkv.bias", "key.bias", ".k.bias")) else 1e-4
        if batch and key.endswith(SHIFTS):
            loose = 0.1  # more than eight steps of 1e-2
        torch.testing.assert_close(
            found[key], value, rtol=1e-4, atol=loose, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_two_processes_have_the_losses_and_end_with_the_weights_of_one(alone, two):
    """In every step, of all parts of the loss; what is frozen or rests for some steps included."""
    for model in MODELS:
        one, both = (read(folder / f"{model}.csv") for folder in (alone, two))
        assert [row[:2] for row in one] == [row[:2] for row in both]
        for found, wanted in zip(both, one, strict=True):
            # of few pictures a pixel that another rounding labels otherwise is a tenth of a point
            close = 0.5 if wanted[1] == "tune_miou" else 1e-3
            assert found[2] == pytest.approx(wanted[2], rel=1e-3, abs=close), (model, wanted)
        assert len({step for step, name, _ in one if name == "loss"}) == 8
        for part in ("last_0", "best"):
            agree(state(two, f"{model}_{part}"), state(alone, f"{model}_{part}"))
        first, second = (state(two, f"{model}_last_{rank}") for rank in range(2))
        assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_part_that_trains_late_rests_until_then(alone):
    half, last = (state(alone, f"tcl_{name}_0") for name in ("half", "last"))
    late = [k for k in half if k.startswith("grounder.head.block")]
    assert len(late) == 12
    assert all(torch.equal(half[k], half[k.replace("grounder.head", "frozen")]) for k in late)
    assert all(not torch.equal(half[k], last[k]) for k in late)


def test_shared_out_parameters_train_as_whole_ones(alone, shards):
    """FSDP: parts that rest, a momentum encoder, clipped gradients."""
    for model in SHARDED:
        one, both = (read(folder / f"{model}.csv") for folder in (alone, shards))
        assert [row[2] for row in both] == pytest.approx(
            [row[2] for row in one], rel=1e-3, abs=1e-3
        )
        agree(state(shards, f"{model}_last_0"), state(alone, f"{model}_last_0"))
        agree(state(shards, f"{model}_best"), state(alone, f"{model}_best"))


@pytest.mark.parametrize(("name", "model"), [("two", "mil"), ("shards", "tcl")])
def test_ranks_go_on_in_the_middle_of_an_epoch(alone, name, model, request):
    """Bit for bit, from a file that is one process's."""
    folder = request.getfixturevalue(name)
    assert (folder / f"{model}_again.csv").read_bytes() == (folder / f"{model}.csv").read_bytes()
    for part in ("last_0", "best"):
        found, wanted = (state(folder, f"{one}_{part}") for one in (f"{model}_again", model))
        assert all(torch.equal(found[k], wanted[k]) for k in wanted)
    held = torch.load(folder / f"{model}_again" / "last.ckpt", weights_only=True)["state_dict"]
    agree({k.removeprefix("model."): v for k, v in held.items()}, state(alone, f"{model}_last_0"))


@pytest.mark.parametrize(("name", "model"), [("two", "mil"), ("shards", "tcl")])
def test_one_process_goes_on_with_what_several_began(alone, script, name, model, request, tmp_path):
    folder = request.getfixturevalue(name)
    shutil.copytree(folder / f"{model}_stopped", tmp_path / "one")
    shutil.copy(folder / f"{model}_stopped.csv", tmp_path / "one.csv")
    assert torch.load(tmp_path / "one" / "last.ckpt", weights_only=True)["global_step"] == 6
    script.run(model, tmp_path, "one")
    agree(state(tmp_path, "one_last_0"), state(alone, f"{model}_last_0"))
