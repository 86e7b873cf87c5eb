"""Files written under another name and renamed into place."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
"""Of disks and of users' folders: nothing that a stage could do about."""


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends well and removed when it
    does not.
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
            # a full disk names no file, others one that is gone
            error.filename, error.filename2 = (str(path), None)
        raise


def describe_trouble(error: OSError) -> str:
    """What is wrong with the files of this machine, in one line; empty where it rather is a mistake
    of ours.
    """
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
    """Delete temporary files of writers that were killed; nobody may be writing there."""
    for part in Path(folder).rglob(".*.part"):
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def write_table(table: pa.Table, path: Path | str) -> None:
    """Write a parquet file atomically."""
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")


def write_array(array: np.ndarray, path: Path | str) -> None:
    """Write an `.npy` file atomically."""
    # w+b, not wb: into that numpy writes by C's own functions, whose error does not say that the
    # disk is full.
    with atomic_path(path) as part, part.open("w+b") as stream:
        np.save(stream, array, allow_pickle=False)


def write_tensors(
    tensors: Mapping[str, Any], path: Path | str, metadata: dict[str, str] | None = None
) -> None:
    """Write arrays of numpy or tensors of torch as safetensors, atomically, for whom the umask
    says.

    safetensors' own `save_file` makes a file that its owner alone can read.
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
        part.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file with a header line, written atomically."""
    with atomic_path(path) as part, part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
