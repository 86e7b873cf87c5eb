"""Reading, counting and hashing the files of a folder of shards."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import resource
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.records import UserError
from captionseg.storage.packed import SUFFIX, PackedArray
from captionseg.storage.reading import AGAIN, read_array, read_batches, read_table

ROWS = 1 << 14
"""Number of rows that are read at once where not all are."""

SPARE = 256
"""Number of files that a process opens beside arrays."""


def list_files(folder: Path | str, suffix: str) -> list[Path]:
    """List the files of a folder with a suffix, in name order, without hidden files.

    Raises:
        UserError: for a suffix in upper case, because the file would silently be ignored.
    """
    files = sorted(
        path for path in Path(folder).glob("[!.]*") if path.name.lower().endswith(suffix)
    )
    if odd := [path for path in files if not path.name.endswith(suffix)]:
        raise UserError(f"{odd[0]}: the name must end in {suffix}, in lower case; rename it")
    if not files:
        raise UserError(
            f"{folder}: no {suffix[1:]} files; run the stage that writes them (`dvc repro`)"
        )
    return files


def list_shard_files(folder: Path | str, suffix: str, names: Collection[str]) -> list[Path]:
    """List the files of a folder, which must be exactly those of the shards `names`, in that order.

    Raises:
        UserError: for a missing file, or one that belongs to no shard.
    """
    present = [path.name for path in list_files(folder, suffix)]
    expected = [f"{name}{suffix}" for name in names]
    if missing := [name for name in expected if name not in set(present)]:
        more = f" and {len(missing) - 1} more files" if len(missing) > 1 else ""
        raise UserError(
            f"{Path(folder) / missing[0]}: no such file{more}, so rows are missing; run `dvc "
            "repro` to write it again"
        )
    if odd := sorted(set(present) - set(expected)):
        raise UserError(f"{Path(folder) / odd[0]}: belongs to no shard of these data; {AGAIN}")
    return [Path(folder) / name for name in expected]


def read_tables(
    folder: Path | str,
    *,
    columns: Sequence[str] | None = None,
    schema: pa.Schema | None = None,
    shards: Collection[str] | None = None,
) -> pa.Table:
    """Read all parquet files of a folder, in name order, as one table.

    Args:
        folder: folder of the files.
        columns: see `read_table`.
        schema: see `read_table`.
        shards: names of the files without suffix; exactly these must exist.

    Raises:
        UserError: if there are no files, one is missing or damaged, or their columns differ.
    """
    files = (
        list_files(folder, ".parquet")
        if shards is None
        else list_shard_files(folder, ".parquet", shards)
    )
    tables = [read_table(file, schema=schema, columns=columns) for file in files]
    for file, table in zip(files, tables, strict=True):
        if not table.schema.equals(tables[0].schema):
            raise UserError(f"{file}: columns or types differ from {files[0].name}; {AGAIN}")
    return pa.concat_tables(tables)


class RowStream:
    """The rows of parquet files one after another, a part at a time.

    Only the rows of a part, and of the batch that its last row lies in, are in memory.

    Args:
        files: in row order.
        columns: see `read_table`.
        schema: see `read_table`.
        fields: see `read_batches`.
    """

    def __init__(
        self,
        files: Sequence[Path],
        columns: Sequence[str],
        *,
        schema: pa.Schema,
        fields: Collection[str] = (),
    ) -> None:
        self.batches = (
            batch
            for file in files
            for batch in read_batches(file, columns, ROWS, schema=schema, fields=fields)
        )
        self.rest: list[pa.RecordBatch] = []

    def take(self, count: int) -> pa.Table | None:
        """The next rows, fewer than `count` at the end; None after it."""
        parts, missing = [], count
        while missing and (batch := self.rest.pop() if self.rest else next(self.batches, None)):
            parts.append(batch.slice(0, missing))
            if len(batch) > missing:
                self.rest.append(batch.slice(missing))
            missing -= len(parts[-1])
        return pa.Table.from_batches(parts) if parts else None


def map_arrays(folder: Path | str, rows: Mapping[str, int] | None = None) -> list[np.ndarray]:
    """Memory-map all `.npy` files of a folder, in name order.

    Args:
        folder: NAME with the files NAME_SHARD.npy.
        rows: shard -> number of rows its file must have, in shard order. Use it whenever rows
            belong to pictures: without it, a missing file would shift all later rows to other
            pictures.

    Raises:
        UserError: if there are no files, one is missing or damaged, or has a wrong number of rows
            or a wrong shape.
    """
    if rows is None:
        files = list_files(folder, ".npy")
        allow_open_files(len(files))
        arrays = [read_array(file) for file in files]
    else:
        files = list_shard_files(folder, ".npy", [f"{Path(folder).name}_{shard}" for shard in rows])
        allow_open_files(len(files))
        arrays = [
            read_array(file, rows=count) for file, count in zip(files, rows.values(), strict=True)
        ]
    check_shapes(files, arrays)
    return arrays


def map_packed(folder: Path | str, rows: Mapping[str, int] | None = None) -> list[PackedArray]:
    """Memory-map all packed arrays of a folder, in name order; see `map_arrays`."""
    if rows is None:
        files = list_files(folder, SUFFIX)
        arrays = [PackedArray(file) for file in files]
    else:
        files = list_shard_files(folder, SUFFIX, [f"{Path(folder).name}_{name}" for name in rows])
        arrays = [PackedArray(file, rows) for file, rows in zip(files, rows.values(), strict=True)]
    check_shapes(files, arrays)
    return arrays


def check_shapes(files: Sequence[Path], arrays: Sequence[np.ndarray | PackedArray]) -> None:
    """Check that rows of all arrays have the same shape and type.

    Raises:
        UserError: naming the first file where they have not.
    """
    for file, array in zip(files, arrays, strict=True):
        if (array.shape[1:], array.dtype) != (arrays[0].shape[1:], arrays[0].dtype):
            raise UserError(
                f"{file}: rows are {array.dtype}{list(array.shape[1:])}, but in {files[0].name} "
                f"they are {arrays[0].dtype}{list(arrays[0].shape[1:])}; {AGAIN}"
            )


def allow_open_files(count: int) -> None:
    """Raise the number of files that this process may open, if so many more could be too many.

    A memory map keeps its file open, and many systems allow 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = Path("/proc/self/fd")
    needed = count + SPARE + (len(os.listdir(opened)) if opened.is_dir() else 0)
    if soft != resource.RLIM_INFINITY and needed > soft:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def read_arrays(folder: Path | str, rows: Mapping[str, int] | None = None) -> np.ndarray:
    """Read the arrays of `map_arrays`, concatenated along the first axis."""
    return np.concatenate(map_arrays(folder, rows))


def count_rows(path: Path | str) -> int | None:
    """Read the number of rows from the header of an `.npy`, packed or parquet file; None if it is
    missing or incomplete.
    """
    try:
        if str(path).endswith(SUFFIX):
            with pa.memory_map(str(path)) as file:
                return len(pa.ipc.open_file(file).read_all())
        if str(path).endswith(".npy"):
            return len(np.load(path, mmap_mode="r", allow_pickle=False))
        return pq.read_metadata(path).num_rows
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        return None


def find_incomplete(expected: Mapping[Path, int]) -> str:
    """Describe the first file without the expected number of rows; empty if all are complete."""
    for path, count in expected.items():
        if (rows := count_rows(path)) != count:
            return f"{path}: " + (
                "missing, or torn" if rows is None else f"{rows} rows, expected {count}"
            )
    return ""


def hash_files(files: Sequence[Path]) -> str:
    """Hash names and contents of files with sha256, as hex digits.

    Raises:
        UserError: if one is missing.
    """
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\0".encode() + hash_content(file).digest())
    return total.hexdigest()


def hash_content(file: Path) -> Any:
    """Hash the contents of a file with sha256.

    Raises:
        UserError: if it is missing.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256")
    except OSError:
        raise UserError(
            f"{file}: no such file; run the stage that writes it (`dvc repro`)"
        ) from None


def find_package_file(package: str, inside: str) -> Path:
    """Return the path of a file in an installed package, without importing it.

    Raises:
        UserError: if the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"package {package} is not installed: pip install -r requirements.lock")
    return Path(spec.submodule_search_locations[0]) / inside
