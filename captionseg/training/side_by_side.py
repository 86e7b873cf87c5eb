"""Trains several seeds of a recipe at the same time, each in a fork of this process.

On a CPU a small model keeps two threads busy for three quarters of the time: much of what is
between two matrix products is the work of one. Seeds side by side fill these gaps. Each has as many
threads as it would have alone, so its sums round alike, and its weights are the same bytes.
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

    `runtime.workers`, or as many as the cores have room for, and two more if each has several
    threads, which it does not keep busy. Only on a CPU, with one process a model, and of models
    that learn from stored features of regions: larger ones may not fit into memory together.

    Args:
        params: section `pretrain`.
        runtime: section `runtime`.
        reads: what the model reads.
        seeds: number of seeds.
    """
    alone = not reads.regions or params.workers or runtime.devices * runtime.nodes > 1
    if seeds < 2 or alone or not can_fork() or detect(params.device).device != "cpu":
        return 1
    threads = torch.get_num_threads()
    room = max(1, count_cores() // threads + (2 if threads > 1 else 0))
    # of a Ray cluster it counts tasks on all machines
    workers = runtime.workers if runtime.fan_out == "processes" else 0
    return min(seeds, workers or room)


def train_side_by_side(
    train: Callable[[int, Tell], float],
    seeds: Sequence[int],
    count: int,
    params: PretrainParams,
    *,
    steps: int,
    tell: Tell,
) -> list[float]:
    """Train seeds, `count` of them at a time; return what `train` returns of each.

    Args:
        train: trains and saves a seed, and calls its second argument with every loss.
        seeds: the seeds.
        count: 1 trains in this process, more in forks of it.
        params: section `pretrain`.
        steps: number of steps of an epoch.
        tell: is called in this process.
    """
    if count == 1:
        return [train(seed, tell) for seed in seeds]
    threads = torch.get_num_threads()
    # of a soup only the first run is heard of
    total = len(seeds) * params.epochs * steps if params.soup == 1 else None
    reached = dict.fromkeys(seeds, 0)

    def work(seed: int, say: Say) -> float:
        torch.set_num_threads(threads)  # a thread that is new to OpenMP has a number of its own
        return train(seed, partial(say, seed))

    def hear(seed: int, values: dict[str, float], step: int) -> None:
        tell(values, step)
        if f"seed{seed}.loss" in values and step >= reached[seed]:
            bar.update(step + 1 - reached[seed])
            reached[seed] = step + 1

    results = spread_forks(work, seeds, count, hear=hear, called=lambda seed: f"seed {seed}")
    with tqdm(total=total, desc="pretrain", unit="step") as bar:
        return list(results)
