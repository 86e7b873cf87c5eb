"""Stores the areas of each picture, seed and class, to compare recipes without their models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from captionseg.storage.reading import read_table
from captionseg.storage.writing import write_table

SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("seed", pa.int32()),
        ("class", pa.int32()),
        ("intersection", pa.int32()),
        ("predicted", pa.int32()),
        ("true", pa.int32()),
    ]
)
"""One row for each class that is predicted or true in a picture; areas are in pixels."""
COUNTS = SCHEMA.names[3:]


def write(areas: np.ndarray, uids: Sequence[str], seeds: Sequence[int], path: Path) -> None:
    """Write the areas of a recipe.

    Args:
        areas: [n, seeds, 3, C], see `metrics.areas`.
        uids: [n] uids of the pictures.
        seeds: seeds of the models.
        path: path of the parquet file.
    """
    n, s, c = np.nonzero(areas[:, :, 1:].any(2))
    names = pa.array(list(uids), pa.string()).take(pa.array(n))
    columns = [
        names,
        np.array(seeds, np.int32)[s],
        c,
        *(areas[n, s, row, c] for row in range(len(COUNTS))),
    ]
    write_table(
        pa.table(
            [pa.array(v).cast(f.type) for v, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
        ),
        path,
    )


def read(files: Sequence[Path], classes: int) -> list[np.ndarray]:
    """Read the areas of several recipes, each [n, seeds, 3, C] int64.

    The n pictures are those of any file, in the same order for all. Missing pictures and classes
    have zeros; seeds are sorted.

    Args:
        files: files that `write` wrote.
        classes: C, number of classes.
    """
    tables = [read_table(file, schema=SCHEMA) for file in files]
    uids = list_uids(tables)
    return [dense(table, uids, classes) for table in tables]


def read_uids(files: Sequence[Path]) -> list[str]:
    """Read the uids of the n pictures of `read`, in its order."""
    return list_uids([read_table(file, schema=SCHEMA) for file in files]).to_pylist()


def list_uids(tables: Sequence[pa.Table]) -> pa.Array:
    """List the pictures of any table, each once."""
    return pa.chunked_array(
        [table["uid"].chunk(i) for table in tables for i in range(table["uid"].num_chunks)],
        pa.string(),
    ).unique()


def dense(table: pa.Table, uids: pa.Array, classes: int) -> np.ndarray:
    """Convert rows of SCHEMA to [n, seeds, 3, C] int64 for the n pictures of `uids`."""
    place = {uid: number for number, uid in enumerate(uids.to_pylist())}
    row = np.array([place[uid] for uid in table["uid"].to_pylist()], np.int64)
    seeds, seed = np.unique(table["seed"].to_numpy(), return_inverse=True)
    out = np.zeros((len(uids), len(seeds), len(COUNTS), classes), np.int64)
    for number, name in enumerate(COUNTS):
        out[row, seed, number, table["class"].to_numpy()] = table[name].to_numpy()
    return out
