"""Files: written under another name and renamed into place, read folder by folder."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from captionseg.records import UserError, one_line

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
            error.filename, error.filename2 = (
                str(path),
                None,
            )  # a full disk names no file, others one that is gone
        raise


def trouble(error: OSError) -> str:
    """What is wrong with the files of this machine, in one line; empty where it rather is a mistake
    of ours.
    """
    if error.errno not in TROUBLE:
        return ""
    name = error.filename if isinstance(error.filename, str) else os.fsdecode(error.filename or "")
    advice = {
        errno.ENOSPC: "make room",
        errno.EDQUOT: "make room",
        errno.EACCES: "see who may read and write there",
        errno.EPERM: "see who may read and write there",
        errno.EROFS: "work where you may write",
    }
    where = f"{name}: " if name else ""
    return one_line(
        f"{where}{os.strerror(error.errno)}; {advice.get(error.errno, 'mend that')}, then run it "
        "again: what is finished is kept"
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


# ------------------------------------------------------------------------------------------------
# reading

AGAIN = "delete it and run `dvc repro`, which makes it anew"


@contextlib.contextmanager
def readable(path: Path | str, todo: str = AGAIN) -> Iterator[None]:
    """Around whatever reads a file: that it is missing, cut off or no such file is one line that
    names it.

    Args:
        path: of the file.
        todo: what the user can do about it.

    Raises:
        UserError: in place of what the readers of JSON, parquet, npy and safetensors raise.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file; {todo.removeprefix('delete it and ')}") from None
    except (
        OSError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        MemoryError,
        csv.Error,
        pa.ArrowException,
        SafetensorError,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(
            f"{path}: cannot be read ({one_line(reason) or type(error).__name__}); {todo}"
        ) from None


def read_json(path: Path | str, *, todo: str = AGAIN) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        UserError: for a file that is missing, no JSON, or JSON of another kind.
    """
    with readable(path, todo):
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"expected an object, found {one_line(repr(found), 60)}")
    return found


def read_table(
    path: Path | str,
    *,
    schema: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
    todo: str = AGAIN,
) -> pa.Table:
    """A parquet file. Nothing is made up: a column that is asked for is there, with the type it
    should have.

    Args:
        path: of the file.
        schema: names and types of the columns that must be there; others are not read.
        columns: only these of them, or of the file.
        todo: what the user can do about a file that is damaged.

    Raises:
        UserError: naming the file, and the column that is missing or of another type.
    """
    with readable(path, todo), pq.ParquetFile(path, page_checksum_verification=True) as file:
        found = file.schema_arrow
        names = list(
            columns if columns is not None else (found if schema is None else schema).names
        )
        check_columns(found, path, names, schema, todo)
        return file.read(columns=names).select(names)


def batches_of(
    path: Path | str, columns: Sequence[str], size: int, *, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows of a parquet file, at most `size` at a time; columns and errors as in
    `read_table`."""
    with readable(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    with file:
        check_columns(file.schema_arrow, path, columns, schema)
        batches = file.iter_batches(size, columns=list(columns))
        while True:
            with readable(path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def check_columns(
    found: pa.Schema,
    path: Path | str,
    names: Sequence[str],
    schema: pa.Schema | None,
    todo: str = AGAIN,
) -> None:
    """Raises UserError for a column that is missing, or of another type than in `schema`."""
    if missing := [name for name in names if name not in found.names]:
        raise UserError(f"{path}: it has no column {', '.join(missing)}; {todo}")
    for name in names if schema is not None else ():
        assert schema is not None
        if not found.field(name).type.equals(schema.field(name).type):
            raise UserError(
                f"{path}: column {name} is {found.field(name).type}, not "
                f"{schema.field(name).type}; {todo}"
            )


def read_array(path: Path | str, *, rows: int | None = None, todo: str = AGAIN) -> np.ndarray:
    """An `.npy` file, memory-mapped.

    Args:
        path: of the file.
        rows: that it must have.
        todo: what the user can do about a file that is damaged.

    Raises:
        UserError: if it is damaged, longer or shorter than it says, or of other rows.
    """
    with readable(path, todo):
        found = np.lib.format.open_memmap(
            path, mode="r"
        )  # np.load would look for archives and pickles, too
        if found.size and found.offset + found.nbytes != os.path.getsize(path):
            raise ValueError("it is longer than its header says")
        if rows is not None and (found.ndim == 0 or len(found) != rows):
            raise ValueError(f"{found.shape[0] if found.ndim else 'no'} rows, where {rows} belong")
    return found


def listed(folder: Path | str, suffix: str) -> list[Path]:
    """The files of a folder with a suffix, in name order; hidden ones are nobody's.

    Raises:
        UserError: for one whose suffix is in other letters, since it would be lost without a word.
    """
    files = sorted(
        path for path in Path(folder).glob("[!.]*") if path.name.lower().endswith(suffix)
    )
    if odd := [path for path in files if not path.name.endswith(suffix)]:
        raise UserError(f"{odd[0]}: its name should end in {suffix}, in small letters; rename it")
    if not files:
        raise UserError(
            f"no {suffix[1:]} files in {folder}: run the stage that writes it first (`dvc repro`)"
        )
    return files


def of_shards(folder: Path | str, suffix: str, names: Collection[str]) -> list[Path]:
    """The files of a folder, which must be exactly those of `names`, in that order: a shard each.

    Raises:
        UserError: for a file that is missing, and for one that is of none of the shards.
    """
    there = [path.name for path in listed(folder, suffix)]
    wanted = [f"{name}{suffix}" for name in names]
    if missing := [name for name in wanted if name not in set(there)]:
        more = f" and {len(missing) - 1} more files" if len(missing) > 1 else ""
        raise UserError(
            f"{Path(folder) / missing[0]}: no such file{more}, so that rows are lost; run `dvc "
            "repro`, which makes it anew"
        )
    if odd := sorted(set(there) - set(wanted)):
        raise UserError(f"{Path(folder) / odd[0]}: of no shard of these data; {AGAIN}")
    return [Path(folder) / name for name in wanted]


def read_tables(
    folder: Path | str,
    *,
    columns: Sequence[str] | None = None,
    schema: pa.Schema | None = None,
    shards: Collection[str] | None = None,
) -> pa.Table:
    """All parquet files of a folder, in name order, as one table.

    Args:
        folder: of the files.
        columns: see `read_table`, likewise schema.
        schema: see columns.
        shards: names of the files without their suffix; those and no others must be there.

    Raises:
        UserError: if there is none, one is missing or damaged, or they have different columns.
    """
    files = listed(folder, ".parquet") if shards is None else of_shards(folder, ".parquet", shards)
    tables = [read_table(file, schema=schema, columns=columns) for file in files]
    for file, table in zip(files, tables, strict=True):
        if not table.schema.equals(tables[0].schema):
            raise UserError(f"{file}: other columns or types than in {files[0].name}; {AGAIN}")
    return pa.concat_tables(tables)


def map_arrays(folder: Path | str, rows: Mapping[str, int] | None = None) -> list[np.ndarray]:
    """All `.npy` files of a folder, in name order, memory-mapped.

    Args:
        folder: NAME with the files NAME_SHARD.npy.
        rows: shard -> how many rows its file must have, in the order of the shards. Without it a
            file that is missing shifts all rows after it to other pictures, so it is given wherever
            rows have an owner.

    Raises:
        UserError: if there is none, one is missing or damaged, or has other rows or another form
            than it should.
    """
    if rows is None:
        files = listed(folder, ".npy")
        arrays = [read_array(file) for file in files]
    else:
        files = of_shards(folder, ".npy", [f"{Path(folder).name}_{shard}" for shard in rows])
        arrays = [
            read_array(file, rows=count) for file, count in zip(files, rows.values(), strict=True)
        ]
    for file, array in zip(files, arrays, strict=True):
        if (array.shape[1:], array.dtype) != (arrays[0].shape[1:], arrays[0].dtype):
            raise UserError(
                f"{file}: {array.dtype}{list(array.shape[1:])} a row, where {files[0].name} has "
                f"{arrays[0].dtype}{list(arrays[0].shape[1:])}; {AGAIN}"
            )
    return arrays


def read_arrays(folder: Path | str, rows: Mapping[str, int] | None = None) -> np.ndarray:
    """The arrays of `map_arrays`, joined along the first axis."""
    return np.concatenate(map_arrays(folder, rows))


def rows_in(path: Path | str) -> int | None:
    """Rows of an `.npy` or a parquet file, by its header; None where there is no such file, or part
    of one.
    """
    try:
        if str(path).endswith(".npy"):
            return len(np.load(path, mmap_mode="r", allow_pickle=False))
        return pq.read_metadata(path).num_rows
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        return None


def lacking(wanted: Mapping[Path, int]) -> str:
    """The first of some files that has not the rows that it should have, in words; empty where all
    have.
    """
    for path, count in wanted.items():
        if (found := rows_in(path)) != count:
            return f"{path}: " + (
                "missing, or torn" if found is None else f"{found} rows, expected {count}"
            )
    return ""


def digest(files: Sequence[Path]) -> str:
    """sha256, as hex digits, over names and contents of files.

    Raises:
        UserError: if one is missing.
    """
    total = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                total.update(
                    f"{file.name}\0".encode() + hashlib.file_digest(stream, "sha256").digest()
                )
        except OSError:
            raise UserError(
                f"{file}: no such file; run the stage that writes it first (`dvc repro`)"
            ) from None
    return total.hexdigest()


def package_path(package: str, inside: str) -> Path:
    """Where a data package of PyPI keeps a file, without importing it.

    Raises:
        UserError: if the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"package {package} is not installed: pip install -r requirements.lock")
    return Path(spec.submodule_search_locations[0]) / inside
