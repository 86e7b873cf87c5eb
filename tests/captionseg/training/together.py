"""A script of the tests: fits of small models in as many processes as it is told.

    python together.py OUT '{"devices": 2}' [MODEL ..]

Writes OUT/MODEL.csv, the curve, and for each rank OUT/MODEL_half_RANK and OUT/MODEL_last_RANK.safetensors, weights at
the ends of its epochs; those of ranks after the first only where they are whole. KILL="rank:step" in the environment
kills a rank in that step of each fit. No dropout and no noise: they are another on each rank.
"""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from captionseg.encoders.dense_head import HeadConfig
from captionseg.modeling.layers.grounder import GrounderConfig
from captionseg.modeling.ovsegmentor import OVSegmentor, OVSegmentorConfig
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.segmenter import Reads
from captionseg.modeling.tcl import Tcl, TclConfig
from captionseg.records import UserError
from captionseg.runtime import RuntimeParams, ranks
from captionseg.runtime.launch import place
from captionseg.training import PretrainParams
from captionseg.training.curve import Curve
from captionseg.training.fit import fit
from captionseg.training.loader import Sentences, TrainingSet
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
        np.arange(COUNT), Rows(rng.standard_normal((COUNT, 6, 4)).astype(np.float16)), rng.integers(1, 7, COUNT),
        rng.standard_normal((COUNT, TEXT)).astype(np.float16), names,
        rng.standard_normal((8, TEXT)).astype(np.float32), concepts, np.ones((COUNT, 2)), np.full((COUNT, 2), -1),
        concepts, concepts, dense=Rows(rng.standard_normal((COUNT, 3, 3, WIDTH)).astype(np.float16)),
        masked_target=concepts[:, :1], pictures=list(rng.integers(0, 255, (COUNT, 24, 20, 3), dtype=np.uint8)),
        sentences=Sentences(captions, masked), reads=Reads())


def mil(given: TrainingSet) -> tuple[torch.nn.Module, TrainingSet]:
    model = SegmentMil(SegmentMilConfig(4, TEXT, hidden=8, width=8, dropout=0.0))
    return model, dataclasses.replace(given, dense=None, pictures=None, sentences=None, masked_target=None)


def tcl(given: TrainingSet) -> tuple[torch.nn.Module, TrainingSet]:
    head = HeadConfig(WIDTH, TEXT, hidden=7)
    model = Tcl(TclConfig(GrounderConfig(head, dropout=0.0), noise=0.0, bias=0.0, late_from=0.5))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.frozen.load_state_dict(model.grounder.head.state_dict())
    return model, dataclasses.replace(given, reads=model.config.reads, pictures=None, sentences=None)


def ovsegmentor(given: TrainingSet) -> tuple[torch.nn.Module, TrainingSet]:
    """Tokens, pixels, a momentum encoder, and a text encoder that is frozen after the first epoch."""
    towers = {"encoder": {"tokens": "pixels", "size": 16, "patch": 8, "width": 8, "heads": 2, "depths": [1, 0],
                          "group_tokens": [4, 0], "groups": [4]}, "hidden": 8, "embedding": 8,
              "text": {"kind": "bert", "width": 8, "depth": 1, "heads": 2, "dropout": 0.0}}
    model = OVSegmentor(build(OVSegmentorConfig, {"towers": towers, "mask_from": 3, "freeze_text": True}, "model"))
    return model, dataclasses.replace(given, reads=model.config.reads, dense=None)


MODELS = {"mil": mil, "tcl": tcl, "ovsegmentor": ovsegmentor}


def dies(model: torch.nn.Module, rank: int, step: int) -> None:
    """Models of this kind kill their process in a step, if it is the process of `rank`."""
    losses, calls = type(model).losses, []

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == step and place(RUNTIME).rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        return losses(*arguments, **options)

    type(model).losses = counted


def main(out: Path, names: list[str]) -> None:
    params = PretrainParams(epochs=2, batch=8, learning_rate=1e-2, device="cpu", workers=1)
    given = data()
    for name in names:
        torch.manual_seed(0)
        model, mine = MODELS[name](given)
        if kill := os.environ.get("KILL"):
            dies(model, *map(int, kill.split(":")))
        ends = []

        def score(model, ends=ends):
            ends.append({k: v.clone().contiguous() for k, v in model.state_dict().items()})
            return sum(float(v.double().sum()) for v in ends[-1].values())

        first = place(RUNTIME).main
        curve = Curve(out / f"{name}.csv" if first else None, 0, lambda *_: None)
        fitted = fit(model, mine, params, seed=0, score=score if first else None, curve=curve, work=out / name,
                     runtime=RUNTIME)
        if first:
            save_file(ends[-1], out / f"{name}_last_0.safetensors")
            save_file(fitted.state, out / f"{name}_best.safetensors")
            save_file(ends[0], out / f"{name}_half_0.safetensors")
        elif RUNTIME.strategy != "fsdp":
            rank = place(RUNTIME).rank
            save_file({k: v.contiguous() for k, v in model.state_dict().items()},
                      out / f"{name}_last_{rank}.safetensors")


if __name__ == "__main__":
    RUNTIME = build(RuntimeParams, json.loads(sys.argv[2]), "runtime")
    try:
        with ranks.joined(RUNTIME, "cpu"):
            main(Path(sys.argv[1]), sys.argv[3:] or list(MODELS))
    except UserError as error:
        sys.exit(f"error: {error}")
