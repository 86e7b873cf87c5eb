"""Atomic writing of files: under a temporary name, then renamed into place."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.records import one_line

TROUBLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
)
"""Errors of disks and users' folders, which are not bugs of a stage."""


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it if the block succeeds, otherwise
    delete it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if part.is_dir() and path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    except BaseException as error:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(part)):
            # a full disk names no file, other errors name the temporary one
            error.filename, error.filename2 = (str(path), None)
        raise


def describe_trouble(error: OSError) -> str:
    """Describe an error of this machine's files in one line; empty if it is probably a bug."""
    if error.errno not in TROUBLE:
        return ""
    name = error.filename if isinstance(error.filename, str) else os.fsdecode(error.filename or "")
    advice = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EACCES: "check the permissions",
        errno.EPERM: "check the permissions",
        errno.EROFS: "use a writable folder",
    }
    where = f"{name}: " if name else ""
    return one_line(
        f"{where}{os.strerror(error.errno)}; {advice.get(error.errno, 'fix this')}, then run it "
        "again; finished parts are kept"
    )


def remove_parts(folder: Path | str) -> None:
    """Delete temporary files of killed writers; there must be no active writer."""
    for part in Path(folder).rglob(".*.part"):
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def write_table(table: pa.Table, path: Path | str) -> None:
    """Write a parquet file atomically."""
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")


def write_array(array: np.ndarray, path: Path | str) -> None:
    """Write an `.npy` file atomically."""
    # w+b, because with wb numpy writes with C functions, whose errors do not report a full disk.
    with atomic_path(path) as part, part.open("w+b") as stream:
        np.save(stream, array, allow_pickle=False)


@contextlib.contextmanager
def open_array(
    path: Path | str, shape: tuple[int, ...], dtype: np.dtype | type
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends rows to a new `.npy` file, which appears when the block ends.

    Rows are written to a stream, not to a memory map: a full disk kills the writer of a map.

    Args:
        path: the file.
        shape: its shape; the rows that are appended must add up to it.
        dtype: its type, to which rows are converted.
    """
    kind, count = np.dtype(dtype), 0
    header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(kind)}

    def append(rows: np.ndarray) -> None:
        nonlocal count
        if rows.shape[1:] != shape[1:]:  # no assertion: python -O has none
            raise RuntimeError(f"{path}: rows {rows.shape[1:]}, expected {shape[1:]}")
        stream.write(np.ascontiguousarray(rows, kind).data)
        count += len(rows)

    with atomic_path(path) as part, part.open("w+b") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        yield append
        if count != shape[0]:
            raise RuntimeError(f"{path}: {count} rows were written, expected {shape[0]}")


def write_tensors(
    tensors: Mapping[str, Any], path: Path | str, metadata: dict[str, str] | None = None
) -> None:
    """Write numpy arrays or torch tensors as safetensors, atomically, with permissions by the
    umask.

    `save_file` of safetensors makes a file that only its owner can read.
    """
    if all(isinstance(value, np.ndarray) for value in tensors.values()):
        from safetensors.numpy import save
    else:
        from safetensors.torch import save
    with atomic_path(path) as part:
        part.write_bytes(save(dict(tensors), metadata))


def write_json(value: Any, path: Path | str) -> None:
    """Write a JSON file atomically: sorted keys, indented, a newline at the end, NaN refused."""
    with atomic_path(path) as part:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
        part.write_text(f"{text}\n", encoding="utf-8")


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header line, atomically."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
