"""A script of the tests: fits of small models in as many processes as it is told.

    python two_processes.py OUT '{"devices": 2}' [MODEL ..]

Writes OUT/MODEL.csv, the curve, OUT/MODEL_half_0 and OUT/MODEL_last_0.safetensors, weights at the
ends of its epochs, OUT/MODEL_best.safetensors, and OUT/MODEL_last_RANK of other ranks where they
have whole weights. With STOP=MODEL:STEP in the environment that model is fitted once more, under
MODEL_again, stopped in that step on all ranks and gone on with; MODEL_stopped is what it was then.
No dropout and no noise: they are another on each rank.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from captionseg.encoders.dense_head import HeadConfig
from captionseg.modeling.groupvit import GroupViT, GroupViTConfig
from captionseg.modeling.layers.tcl_grounder import GrounderConfig
from captionseg.modeling.ovsegmentor import OVSegmentor
from captionseg.modeling.ovsegmentor_config import OVSegmentorConfig
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.segmenter import InputSpec
from captionseg.modeling.tcl import Tcl
from captionseg.modeling.tcl_config import TclConfig
from captionseg.records import UserError
from captionseg.runtime import ranks
from captionseg.runtime.launch import read_place
from captionseg.runtime.params import RuntimeParams
from captionseg.training.curve import Curve
from captionseg.training.fit import fit
from captionseg.training.params import PretrainParams
from captionseg.training.training_set import Sentences, TrainingSet
from captionseg.typed import build

COUNT, WIDTH, TEXT = 34, 6, 5  # 2 of 34 are left out


class Rows:
    """An array on disk."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __getitem__(self, rows):
        return self.array[rows]


def data() -> TrainingSet:
    rng = np.random.default_rng(0)
    concepts = np.stack([np.arange(COUNT) % 8, (np.arange(COUNT) * 3 + 1) % 8], 1)
    names = ["dog", "cat", "tree", "car", "sky", "grass", "road", "house"]
    captions = [f"a {names[a]} and a {names[b]}" for a, b in concepts]
    masked = [f"a [MASK] and a {names[b]}" for _, b in concepts]
    return TrainingSet(
        np.arange(COUNT),
        Rows(rng.standard_normal((COUNT, 6, 4)).astype(np.float16)),
        rng.integers(1, 7, COUNT),
        rng.standard_normal((COUNT, TEXT)).astype(np.float16),
        names,
        rng.standard_normal((8, TEXT)).astype(np.float32),
        concepts,
        np.ones((COUNT, 2)),
        np.full((COUNT, 2), -1),
        concepts,
        concepts,
        dense=Rows(rng.standard_normal((COUNT, 3, 3, WIDTH)).astype(np.float16)),
        masked_target=concepts[:, :1],
        pictures=list(rng.integers(0, 255, (COUNT, 24, 20, 3), dtype=np.uint8)),
        sentences=Sentences(captions, masked),
        reads=InputSpec(),
    )


def mil(given: TrainingSet) -> tuple[torch.nn.Module, TrainingSet]:
    model = SegmentMil(SegmentMilConfig(4, TEXT, hidden=8, width=8, dropout=0.0))
    return model, dataclasses.replace(
        given, dense=None, pictures=None, sentences=None, masked_target=None
    )


def tcl(given: TrainingSet) -> tuple[torch.nn.Module, TrainingSet]:
    head = HeadConfig(WIDTH, TEXT, hidden=7)
    model = Tcl(TclConfig(GrounderConfig(head, dropout=0.0), noise=0.0, bias=0.0, late_from=0.5))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.frozen.load_state_dict(model.grounder.head.state_dict())
    return model, dataclasses.replace(
        given, reads=model.config.reads, pictures=None, sentences=None
    )


def ovsegmentor(given: TrainingSet) -> tuple[torch.nn.Module, TrainingSet]:
    """Tokens, pixels, a momentum encoder, and a text encoder that is frozen after the first
    epoch."""
    towers = {
        "encoder": {
            "tokens": "pixels",
            "size": 16,
            "patch": 8,
            "width": 8,
            "heads": 2,
            "depths": [1, 0],
            "group_tokens": [4, 0],
            "groups": [4],
        },
        "hidden": 8,
        "embedding": 8,
        "text": {"kind": "bert", "width": 8, "depth": 1, "heads": 2, "dropout": 0.0},
    }
    model = OVSegmentor(
        build(OVSegmentorConfig, {"towers": towers, "mask_from": 3, "freeze_text": True}, "model")
    )
    return model, dataclasses.replace(given, reads=model.config.reads, dense=None)


def groupvit(given: TrainingSet) -> tuple[torch.nn.Module, TrainingSet]:
    """Batch norm, as published."""
    towers = {
        "encoder": {"region_width": 4, "width": 8, "heads": 2, "dropout": 0.0},
        "text": {"width": TEXT},
        "hidden": 8,
        "embedding": 8,
        "norm": "batch",
    }
    model = GroupViT(build(GroupViTConfig, {"towers": towers, "pool": "mean"}, "model"))
    return model, dataclasses.replace(
        given, dense=None, pictures=None, sentences=None, masked_target=None
    )


RUNTIME = RuntimeParams()
PARAMS = PretrainParams(epochs=2, batch=8, learning_rate=1e-2, device="cpu")
DATA = data()
MODELS = {"mil": mil, "tcl": tcl, "ovsegmentor": ovsegmentor, "groupvit": groupvit}


class Stopped(Exception):
    """Stands for the end of all processes."""


def stopping(kind: type, step: int) -> None:
    """The next fit of models of a kind stops in a step."""
    losses, calls = kind.losses, []

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == step:
            kind.losses = losses
            raise Stopped
        return losses(*arguments, **options)

    kind.losses = counted


def run(name: str, out: Path, saved: str) -> None:
    torch.manual_seed(0)
    model, given = MODELS[name](DATA)
    ends, rank = [], read_place(RUNTIME).rank

    def score(model):
        ends.append({k: v.clone().contiguous() for k, v in model.state_dict().items()})
        return sum(float(v.double().sum()) for v in ends[-1].values())

    curve = Curve(None if rank else out / f"{saved}.csv", 0, lambda *_: None)
    params = dataclasses.replace(PARAMS, workers=int(name == "mil"))
    fitted = fit(
        model,
        given,
        params,
        seed=0,
        score=None if rank else score,
        curve=curve,
        work=out / saved,
        runtime=RUNTIME,
    )
    if not rank:
        for part, state in (("half", ends[0]), ("last", ends[-1])):
            save_file(state, out / f"{saved}_{part}_0.safetensors")
        save_file(fitted.state, out / f"{saved}_best.safetensors")
    elif RUNTIME.strategy != "fsdp":
        save_file(
            {k: v.contiguous() for k, v in model.state_dict().items()},
            out / f"{saved}_last_{rank}.safetensors",
        )


def main(out: Path, names: list[str]) -> None:
    for name in names:
        run(name, out, name)
        stop = os.environ.get("STOP", "").split(":")
        if stop[0] == name:
            stopping(type(MODELS[name](DATA)[0]), int(stop[1]))
            with contextlib.suppress(Stopped):
                run(name, out, f"{name}_again")
            if read_place(RUNTIME).main:
                shutil.copytree(out / f"{name}_again", out / f"{name}_stopped")
                shutil.copy(out / f"{name}_again.csv", out / f"{name}_stopped.csv")
            run(name, out, f"{name}_again")


if __name__ == "__main__":
    RUNTIME = build(RuntimeParams, json.loads(sys.argv[2]), "runtime")
    try:
        with ranks.join_ranks(RUNTIME, "cpu"):
            main(Path(sys.argv[1]), sys.argv[3:] or list(MODELS))
    except UserError as error:
        sys.exit(f"error: {error}")
