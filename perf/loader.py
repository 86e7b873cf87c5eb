"""The training loader: from supervision on disk to columns, against Arrow's columns of all rows.

    python -m perf.loader [--pairs 200000] [--rounds 3]

The reference reads both rules and the ids as whole tables with pyarrow, into memory, numbers their
concepts, drops rows, and unites the archives with scipy: it writes no file and checks nothing. Both
give the same arrays. Before that: memory that a process gains by loading a tenth of the pairs, and
all of them, and making a batch, after it has done so with a thousand; at most, and in the end.
Bytes a pair are those of the pairs that a run has more than a tenth of it; the pools of Arrow's
threads, which grow up to some 60 MiB, are part of them. Memory is what belongs to the process
alone; pages of mapped files are shared by all that map them, and the kernel takes them back.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyarrow import compute
from scipy.sparse import csr_array
from torch import Tensor

from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.modeling.segmenter import InputSpec
from captionseg.runtime.device import detect
from captionseg.text.alike import find_alike
from captionseg.training import loader
from captionseg.training.batches import Batches
from captionseg.training.loader import Folders
from captionseg.training.training_set import TrainingSet
from perf.clock import compare
from perf.made_up_pairs import write_run
from perf.memory import read_own_memory, watch_memory

pc: Any = compute  # its functions are made when it is imported


def load(run: Path, reads: InputSpec | None = None) -> TrainingSet:
    """Load a made-up run as a recipe does."""
    prepared = PreparedFolders(run / "pairs", run / "index", run / "regions", run / "features")
    folders = Folders(prepared, run / "supervision", run / "truth")
    return loader.load(folders, curation="cocu", archive="cocu", reads=reads, device="cpu")


def load_columns(run: Path) -> Tensor:
    """All columns of a run by captionseg, end to end."""
    data = load(run)
    lists: Any = [data.texts, data.weight, data.cluster, data.archive, data.named]
    starts = [lists[i].start for i in (0, 3, 4)]
    return join([data.rows, *starts, *(column.values for column in lists)])


def load_plainly(run: Path) -> Tensor:
    """The same by Arrow and scipy."""
    fields = [f"concepts.list.element.{name}" for name in ("text", "weight", "cluster")]
    tables = {
        rule: pa.concat_tables(
            [
                pq.ParquetFile(file).read(columns=["kept", *fields])
                for file in sorted((run / "supervision" / rule).glob("*.parquet"))
            ]
        )
        for rule in ("cocu", "nouns")
    }
    ids = pq.read_table(run / "index" / "ids.parquet", columns=["row", "split"])
    kept = tables["cocu"]["kept"]
    rows = ids.filter(pc.equal(ids["split"], "train"))["row"].filter(kept).to_numpy()
    vocabulary = pq.read_table(run / "supervision" / "vocabulary" / "concepts.parquet")["text"]
    embedding = np.load(run / "supervision" / "vocabulary" / "embedding.npy")
    lists = {rule: table["concepts"].filter(kept) for rule, table in tables.items()}
    start, concept = {}, {}
    for rule, column in lists.items():
        start[rule] = np.concatenate([[0], pc.list_value_length(column).to_numpy().cumsum()])
        texts = pc.struct_field(pc.list_flatten(column), "text")
        concept[rule] = pc.index_in(texts, value_set=vocabulary.combine_chunks()).to_numpy()
    shape = len(rows), len(vocabulary)
    held = sum(
        csr_array((np.ones(len(concept[rule]), np.int32), concept[rule], start[rule]), shape=shape)
        for rule in lists
    )
    wide = csr_array(held @ find_alike(vocabulary.to_pylist(), embedding, 0.0).astype(np.int32))
    wide.sort_indices()
    structs = pc.list_flatten(lists["cocu"])
    weight, cluster = (pc.struct_field(structs, name).to_numpy() for name in ("weight", "cluster"))
    starts = [start["cocu"], wide.indptr, start["nouns"]]
    return join([rows, *starts, concept["cocu"], weight, cluster, wide.indices, concept["nouns"]])


def join(arrays: list[np.ndarray]) -> Tensor:
    """Concatenate arrays of several types to one."""
    return torch.cat([torch.from_numpy(np.array(array)).double() for array in arrays])


def measure_load(small: Path, run: Path, reads: InputSpec) -> dict[str, int]:
    """Bytes that a process gains by loading `run` and making a batch: at most, and in the end."""
    next(iter(Batches(load(small, reads), batch=128, texts=3, seed=0)))
    pa.default_memory_pool().release_unused()
    with watch_memory() as peak:
        data = load(run, reads)
        next(iter(Batches(data, batch=128, texts=3, seed=0)))
    pa.default_memory_pool().release_unused()
    return {"peak": peak.most, "held": read_own_memory() - peak.before}


def measure_in_child(small: Path, run: Path) -> dict[str, int]:
    """See `measure_load`; of a new process."""
    command = [sys.executable, "-m", "perf.loader", "--measure", str(small), str(run)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.loader", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        small, run = arguments.measure
        print(json.dumps(measure_load(small, run, InputSpec(tokens="clip"))))
        return
    counts = (1000, arguments.pairs // 10, arguments.pairs)
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / str(count) for count in counts]
        for run, count in zip(runs, counts, strict=True):
            start = time.perf_counter()
            write_run(run, count)
            print(f"{count:9,} pairs made up in {time.perf_counter() - start:.1f} s")
        few, many = (measure_in_child(runs[0], run) for run in runs[1:])
        for count, found in zip(counts[1:], (few, many), strict=True):
            words = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in found.items())
            print(f"{count:9,} pairs: {words}")
        more = counts[2] - counts[1]
        words = ", ".join(f"{name} {(many[name] - few[name]) / more:.1f}" for name in many)
        print(f"bytes a pair: {words}")
        forms = {
            "captionseg": lambda: load_columns(runs[-1]),
            "arrow": lambda: load_plainly(runs[-1]),
        }
        median, results = compare(forms, arguments.rounds, detect("cpu"))
    assert torch.equal(results["captionseg"], results["arrow"])
    for name, seconds in median.items():
        print(f"{name:12} {seconds:7.3f} s")
    print(f"ratio {median['arrow'] / median['captionseg']:.2f}")


if __name__ == "__main__":
    main()
