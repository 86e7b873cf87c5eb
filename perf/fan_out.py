"""Shards of index and segment_text over two processes against one, on shards of a run.

    python -m perf.fan_out [--data data] [--stages index segment_text] [--shards 4] \
        [--workers 2] [--rounds 1]

The reference is one process, as many cores as it likes. Both write the same bytes, which is
checked; so that each starts as a stage does, nothing is loaded before the clock runs. Give it a
machine that nobody else uses; the seconds of cores say less about that than those of the clock. The
ratio is that of the last stage.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from captionseg.datasets.pair_tables import read_pairs
from captionseg.encoders.text_space import TextSpace, load_encoder
from captionseg.extraction import extract
from captionseg.params import Params
from captionseg.runtime.fan_out import PerProcess
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.segment_text import pipeline
from captionseg.segment_text.stage_inputs import Inputs, list_images


def index(data: Path, shards: set[str], out: Path, runtime: RuntimeParams) -> None:
    """The features of some shards."""
    params = Params().index
    pairs = read_pairs(data / "pairs")
    mine = pairs.filter([shard in shards for shard in pairs["shard"].to_pylist()])
    encoder = PerProcess(functools.partial(load_encoder, data / "features" / "encoder"))
    extract(mine, data / "pairs", encoder, out, device=params.device, runtime=runtime)


def segment_text(data: Path, shards: set[str], out: Path, runtime: RuntimeParams) -> None:
    """The segments of some shards: the others are marked as finished."""
    params = Params()
    inputs = Inputs(
        *(data / name for name in ("pairs", "captions", "supervision", "features", "regions"))
    )
    out.mkdir(exist_ok=True)
    for shard in dict(list_images(inputs, params.segment_text)).keys() - shards:
        (out / f"{shard}_stats.json").write_text("{}")
    space = functools.partial(TextSpace.load, data / "features" / "encoder")
    pipeline.segment(
        inputs, params.segment_text, space=space, segments=out, seed=params.seed, runtime=runtime
    )


STAGES = {"index": index, "segment_text": segment_text}


def time_stage(
    stage: Callable[..., None], data: Path, shards: set[str], runtime: RuntimeParams
) -> tuple[tuple[float, float], dict]:
    """How long a stage takes, by the clock and of all its processes' cores, and the bytes that it
    leaves.
    """
    with tempfile.TemporaryDirectory() as folder:
        start, before = time.perf_counter(), sum(os.times()[:4])
        stage(data, shards, Path(folder), runtime)
        took = time.perf_counter() - start, sum(os.times()[:4]) - before
        files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
        return took, {str(p.relative_to(folder)): hash(p.read_bytes()) for p in files}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.fan_out", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    every = sorted(set(read_pairs(arguments.data / "pairs")["shard"].to_pylist()))
    shards = set(every[: arguments.shards])
    print(f"{len(shards)} shards, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for stage in [STAGES[name] for name in arguments.stages]:
        times: dict[int, list[tuple[float, float]]] = {1: [], arguments.workers: []}
        for _ in range(arguments.rounds):
            (one, first), (several, second) = (
                time_stage(stage, arguments.data, shards, runtime)
                for runtime in (HERE, replace(HERE, workers=arguments.workers))
            )
            if first != second:
                raise SystemExit(
                    f"{stage.__name__}: other bytes by {arguments.workers} workers than by one"
                )
            times[1].append(one)
            times[arguments.workers].append(several)
        median = {
            n: [statistics.median(column) for column in zip(*taken)] for n, taken in times.items()
        }
        ratio = median[1][0] / median[arguments.workers][0]
        print(
            f"{stage.__name__:13}"
            + "".join(
                f" {n} workers {clock:7.1f} s ({cpu:.1f} s of cores),"
                for n, (clock, cpu) in median.items()
            )
            + f" {ratio:.2f} times as fast, same bytes"
        )
    print(f"ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
