"""Neighbours of all rows, written to files, against faiss alone at equal recall.

    python -m perf.retrieval [--rows 20000] [--width 64] [--neighbours 256] [--key auto] \
        [--ef-search 0] [--nprobe 0] [--rounds 3]

Rows are a smooth surface of 24 dimensions with clusters of very different sizes. Both search one
index, which is built once: the reference asks faiss for all rows at once, on all cores, and holds
the result in memory; the product reads rows from a file, drops the row itself, and writes
neighbours and similarities. `--rows 200000` searches a graph.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from captionseg.arrays import Rows
from captionseg.encoders.encoder import normalise
from captionseg.index_params import IndexParams
from captionseg.neighbours import write_neighbours
from captionseg.records import NEIGHBOURS
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import Effort, Index, recall
from captionseg.runtime.device import detect
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


class Fixed(IndexParams):
    """A section `index` whose searches use one index that is built already."""

    search: FaissIndex

    def build_search(self, vectors: Rows) -> Index:
        """The index."""
        return self.search


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
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    rows, k = draw_rows(arguments.rows, arguments.width), arguments.neighbours
    uid = [str(i) for i in range(len(rows))]
    pairs = pa.table({"uid": uid, "split": ["train"] * len(uid), "sha256": uid})
    params = Fixed(faiss_key=arguments.key, neighbours=k, minimum_recall=0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_array(rows, folder / "rows.npy")
        stored = Rows(read_array(folder / "rows.npy"))
        effort = Effort(arguments.ef_search, arguments.nprobe)
        search = FaissIndex(stored, arguments.key, effort)
        object.__setattr__(params, "search", search)
        search.search(rows[:1], k + 1)  # sets its effort

        def ours() -> Tensor:
            write_neighbours("neighbours", pairs, stored, stored, k, params, folder)
            return torch.from_numpy(np.load(folder / NEIGHBOURS))

        def faiss() -> Tensor:
            return torch.from_numpy(search.index.search(rows, k + 1)[1])

        median, found = compare(
            {"faiss": faiss, "captionseg": ours}, arguments.rounds, detect("cpu")
        )
    print(f"{len(rows)} rows of {rows.shape[1]}, {type(search.index).__name__}")
    print(f"recall@{k + 1} {recall(search, rows, rows, k + 1):.4f}")
    same = found["captionseg"][:, :k] == found["faiss"][:, 1:]
    print(f"the same neighbours at the same places: {same.float().mean():.4f}")
    for form, seconds in median.items():
        print(f"{form:12} {len(rows) / seconds:9.0f} queries/s")
    print(f"ratio {median['faiss'] / median['captionseg']:.2f}")


if __name__ == "__main__":
    main()
