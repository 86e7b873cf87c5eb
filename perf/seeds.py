"""The seeds of a recipe side by side, against one after another: seconds of the clock and of cores.

    python -m perf.seeds [--pairs 3000] [--seeds 3] [--at-once 3] [--rounds 1]

Both train segment_mil with the sizes and the settings of the default run, on made-up features and
without a tune split, with the same number of threads for each seed. Their weights are compared: the
same bytes. Seconds of cores are those of this process and of its forks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as all stages, before torch is imported

import torch

from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.modeling.segment_mil import SegmentMilConfig
from captionseg.recipes import Recipe
from captionseg.runtime.params import RuntimeParams
from captionseg.storage.writing import write_json
from captionseg.training.loader import Folders
from captionseg.training.params import PretrainParams
from captionseg.training.pretrain import pretrain
from perf.made_up_pairs import Sizes, write_run

SIZES = Sizes(text=384, region=375, regions=28)
MODEL = SegmentMilConfig(dropout=0.5, pool_temperature=0.2)


def train(run: Path, out: Path, seeds: int, at_once: int, epochs: int) -> tuple[float, float]:
    """Seconds of the clock, and of cores, that the seeds of a recipe take."""
    prepared = PreparedFolders(run / "pairs", run / "index", run / "regions", run / "features")
    folders = Folders(prepared, run / "supervision", run / "truth", columns=out.parent / "columns")
    params = PretrainParams(
        seeds=list(range(seeds)), epochs=epochs, device="cpu", segment_mil=MODEL
    )
    start, before = time.perf_counter(), os.times()
    pretrain(
        Recipe("cocu", "cocu"),
        params,
        folders,
        name="made-up",
        context={},
        out=out,
        tell=lambda *_: None,
        runtime=RuntimeParams(workers=at_once),
    )
    after = os.times()
    return time.perf_counter() - start, sum(after[:4]) - sum(before[:4])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.seeds", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--at-once", type=int, nargs="+", default=[3])
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    counts = [1, *arguments.at_once]
    taken: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    weights: dict[int, list[bytes]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        write_run(run, arguments.pairs, SIZES)
        write_json({"names": [], "kinds": []}, run / "truth" / "classes.json")
        for turn in range(arguments.rounds):
            for count in counts:
                out = Path(folder) / f"{turn}-{count}"
                taken[count].append(train(run, out, arguments.seeds, count, arguments.epochs))
                files = sorted(out.glob("seeds/*/model.safetensors"))
                weights[count] = [file.read_bytes() for file in files]
    assert all(found == weights[1] for found in weights.values())
    print(f"{arguments.seeds} seeds, {torch.get_num_threads()} threads each, the same weights")
    median = {}
    for count, seconds in taken.items():
        median[count], cores = (statistics.median(values) for values in zip(*seconds))
        print(f"{count} at once: {median[count]:6.1f} s, {cores:6.1f} s of cores")
    print(f"ratio {median[1] / median[counts[-1]]:.2f}")


if __name__ == "__main__":
    main()
