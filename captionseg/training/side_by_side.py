"""Trains several seeds of a recipe at the same time, each in a fork of this process.

On a CPU a small model keeps its threads busy for two thirds of the time only: what is between two
matrix products is the work of one. Seeds side by side fill these gaps. Each has as many threads as
it would have alone, so its sums round alike, and its weights are the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from tqdm import tqdm

from captionseg.modeling.segmenter import InputSpec
from captionseg.runtime.device import detect
from captionseg.runtime.fan_out import count_cores
from captionseg.runtime.forks import Say, can_fork, spread_forks
from captionseg.runtime.params import RuntimeParams
from captionseg.training.curve import Tell
from captionseg.training.params import PretrainParams


def count_at_once(
    params: PretrainParams, runtime: RuntimeParams, reads: InputSpec, seeds: int
) -> int:
    """Return how many seeds are trained at the same time; 1 is one after another in this process.

    One more than cores have room for, since none keeps its threads busy, or `runtime.workers`. Only
    on a CPU, with one process a model, and of models that learn from stored features of regions:
    larger ones keep the cores busy, and may not fit into memory together.

    Args:
        params: section `pretrain`.
        runtime: section `runtime`.
        reads: what the model reads.
        seeds: number of seeds.
    """
    alone = not reads.regions or params.workers or runtime.devices * runtime.nodes > 1
    if alone or not can_fork() or detect(params.device).device != "cpu":
        return 1
    return min(seeds, runtime.workers or count_cores() // torch.get_num_threads() + 2)


def train_side_by_side(
    train: Callable[[int, Tell], tuple[float, float]],
    seeds: Sequence[int],
    count: int,
    params: PretrainParams,
    *,
    steps: int,
    tell: Tell,
) -> list[tuple[float, float]]:
    """Train seeds in forks of this process; return what `train` returns of each.

    Args:
        train: (seed, tell) -> (images per second, seconds); trains and saves a seed.
        seeds: the seeds.
        count: how many are trained at a time.
        params: section `pretrain`.
        steps: number of steps of an epoch.
        tell: called here with all losses.
    """
    threads = torch.get_num_threads()
    # of a soup only the first run is heard of
    total = len(seeds) * params.epochs * steps if params.soup == 1 else None
    reached = dict.fromkeys(seeds, 0)

    def work(seed: int, say: Say) -> tuple[float, float]:
        torch.set_num_threads(threads)  # each thread that starts OpenMP has a number of its own
        return train(seed, partial(say, seed))

    def hear(seed: int, values: dict[str, float], step: int) -> None:
        tell(values, step)
        bar.update(max(0, step + 1 - reached[seed]))
        reached[seed] = max(reached[seed], step + 1)

    results = spread_forks(work, seeds, count, hear=hear, called=lambda seed: f"seed {seed}")
    with tqdm(total=total, desc="pretrain", unit="step") as bar:
        return list(results)
