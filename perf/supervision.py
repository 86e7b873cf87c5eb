"""Supervision: built from arrays, written, and read again, against pandas on the same file.

    python -m perf.supervision [--rows 30000] [--concepts 6] [--rounds 5]

The reference reads the file with pyarrow and lays its concepts out with pandas: a row for each
concept, its text as a category of the vocabulary, and a pivot to arrays of pictures by concepts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from torch import Tensor

from captionseg.runtime.device import detect
from captionseg.supervision import parquet_files
from captionseg.supervision.columns import COLUMNS, Supervision
from perf.clock import compare

VOCABULARY = [f"concept {i}" for i in range(2000)]


def build(uid: np.ndarray, concept: np.ndarray, values: np.ndarray) -> Supervision:
    """A supervision with the same `values` in all columns."""
    columns = dict.fromkeys(COLUMNS, values)
    blank = Supervision.blank(uid)
    return blank.with_concepts(concept, rule="rule", vocabulary=VOCABULARY, **columns)


def read_columns(path: Path) -> Tensor:
    """[columns, N, M] with captionseg."""
    found = parquet_files.read(path, VOCABULARY)
    return torch.stack([torch.from_numpy(getattr(found, n)) for n in ("concept", *COLUMNS)])


def read_frame(path: Path) -> Tensor:
    """[columns, N, M] with pandas."""
    lists = pq.read_table(path)["concepts"].combine_chunks()
    names = lists.type.value_type.names
    frame = pd.DataFrame(
        dict(zip(names, (a.to_pandas() for a in lists.flatten().flatten()), strict=True))
    )
    frame["concept"] = pd.Categorical(frame["text"], VOCABULARY).codes
    frame["row"] = lists.value_parent_indices().to_numpy()
    frame["place"] = frame.groupby("row").cumcount()
    wide = frame.pivot(index="row", columns="place", values=["concept", *COLUMNS])
    array = wide.to_numpy().reshape(len(wide), 1 + len(COLUMNS), -1)
    return torch.tensor(array).movedim(1, 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.supervision", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--concepts", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = arguments.rows, arguments.concepts
    uid = np.array([f"{i:032x}" for i in range(arguments.rows)], object)
    concept = rng.integers(len(VOCABULARY), size=shape)
    values = rng.integers(1, 100, shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "00000.parquet"
        start = time.perf_counter()
        made = build(uid, concept, values)
        built = time.perf_counter()
        parquet_files.write(made, path)
        written = time.perf_counter()
        forms = {"captionseg": lambda: read_columns(path), "pandas": lambda: read_frame(path)}
        median, results = compare(forms, arguments.rounds, detect("cpu"))
    assert torch.equal(results["captionseg"].double(), results["pandas"].double())
    print(f"{arguments.rows} rows of {arguments.concepts} concepts")
    print(f"built {built - start:.3f} s, written {written - built:.3f} s")
    for name, seconds in median.items():
        print(f"{name:12} read {seconds:7.3f} s")
    print(f"ratio {median['pandas'] / median['captionseg']:.2f}")


if __name__ == "__main__":
    main()
