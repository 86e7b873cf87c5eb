"""Neighbours of a block of rows, written to files, against faiss alone at equal recall.

    python -m perf.retrieval [--rows 20000] [--width 64] [--neighbours 256] [--key auto] \
        [--ef-search 0] [--nprobe 0] [--queries 8192] [--rounds 3]

Rows are a smooth surface of 24 dimensions with clusters of very different sizes. Both search one
index of all rows, which is built once, for some of them: the reference asks faiss for all at once,
on all cores, and holds the result in memory; the product reads rows from a file, drops the row
itself, and writes neighbours and similarities. `--rows 200000` searches a graph.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captionseg.arrays import Rows
from captionseg.encoders.encoder import normalise
from captionseg.retrieval.blocks import Searched, Task, list_files, write_block
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import Effort, recall
from captionseg.runtime.device import detect
from captionseg.runtime.fan_out import PerProcess, count_cores
from captionseg.storage.reading import read_array
from captionseg.storage.writing import write_array
from perf.clock import compare

LATENT, KINDS, HIDDEN = 24, 300, 256


def draw_rows(count: int, width: int) -> np.ndarray:
    """L2-normalised rows [N, D]."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, KINDS + 1)
    kind = rng.choice(KINDS, count, p=share / share.sum())
    latent = rng.normal(size=(KINDS, LATENT))[kind] + 0.7 * rng.normal(size=(count, LATENT))
    hidden = np.maximum(latent @ rng.normal(size=(LATENT, HIDDEN)), 0) / LATENT**0.5
    surface = hidden @ rng.normal(size=(HIDDEN, width)) / HIDDEN**0.5
    return normalise(surface + 0.05 * rng.normal(size=(count, width)))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m perf.retrieval", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--neighbours", type=int, default=256)
    parser.add_argument("--key", default="auto")
    parser.add_argument("--ef-search", type=int, default=0)
    parser.add_argument("--nprobe", type=int, default=0)
    parser.add_argument("--queries", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    rows, k = draw_rows(arguments.rows, arguments.width), arguments.neighbours
    every, span = np.arange(len(rows)), range(min(arguments.queries, len(rows)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_array(rows, folder / "rows.npy")
        stored = Rows(read_array(folder / "rows.npy"))
        effort = Effort(arguments.ef_search, arguments.nprobe)
        search = FaissIndex(stored, arguments.key, effort)
        search.search(rows[:1], k + 1)  # sets its effort
        searched = Searched(search, every, every, 1)
        task = Task(
            PerProcess(lambda: searched),
            PerProcess(lambda: stored),
            k,
            folder,
            similarities=True,
            threads=count_cores(),
        )

        def ours() -> Tensor:
            write_block(task, span)
            return torch.from_numpy(
                np.load(next(iter(list_files(folder, span, similarities=True))))
            )

        def faiss() -> Tensor:
            return torch.from_numpy(search.index.search(rows[: len(span)], k + 1)[1])

        median, found = compare(
            {"faiss": faiss, "captionseg": ours}, arguments.rounds, detect("cpu")
        )
    print(f"{len(span)} of {len(rows)} rows of {rows.shape[1]}, {type(search.index).__name__}")
    print(f"recall@{k + 1} {recall(search, rows, rows, k + 1):.4f}")
    same = found["captionseg"] == found["faiss"][:, 1:]
    print(f"the same neighbours at the same places: {same.float().mean():.4f}")
    for form, seconds in median.items():
        print(f"{form:12} {len(span) / seconds:9.0f} queries/s")
    print(f"ratio {median['faiss'] / median['captionseg']:.2f}")


if __name__ == "__main__":
    main()
