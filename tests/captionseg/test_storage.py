import errno
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from captionseg.records import UserError
from captionseg.storage import (
    atomic_path,
    read_arrays,
    read_tables,
    trouble,
    write_array,
    write_json,
    write_table,
    write_tensors,
)


def test_atomic_path_leaves_all_or_nothing(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with atomic_path(target) as part:
        part.write_text("one")
        assert not target.exists()
    with pytest.raises(RuntimeError):
        _stop_after(lambda part: part.write_text("half of tw"), target, RuntimeError)
    assert target.read_text() == "one"
    assert os.listdir(target.parent) == ["file.txt"]


def test_atomic_path_replaces_folders_too(tmp_path):
    for text in ("one", "two"):
        with atomic_path(tmp_path / "folder") as part:
            part.mkdir()
            (part / text).touch()
    with pytest.raises(KeyboardInterrupt):
        _stop_after(Path.mkdir, tmp_path / "folder", KeyboardInterrupt)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["two"]
    assert os.listdir(tmp_path) == ["folder"]


def test_equal_values_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_table(pa.table({"x": [1, 2]}), tmp_path / f"{name}.parquet")
        write_array(np.arange(3), tmp_path / f"{name}.npy")
    write_json({"b": 1, "a": 2}, tmp_path / "a.json")
    write_json({"a": 2, "b": 1}, tmp_path / "b.json")
    for kind in ("parquet", "npy", "json"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_json_refuses_nan_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json({"loss": float("nan")}, tmp_path / "metrics.json")
    assert os.listdir(tmp_path) == []
    write_json({"loss": 1}, tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"loss": 1}


def test_reading_folders_in_name_order(tmp_path):
    for number in (10, 2, 1):
        write_table(pa.table({"x": [number]}), tmp_path / f"{number:05d}.parquet")
        write_array(np.array([[number]]), tmp_path / f"a_{number:05d}.npy")
    assert read_tables(tmp_path)["x"].to_pylist() == [1, 2, 10]
    assert read_arrays(tmp_path).tolist() == [[1], [2], [10]]


def test_reading_nothing_is_one_line(tmp_path):
    for read in (read_tables, read_arrays):
        with pytest.raises(UserError, match="run the stage"):
            read(tmp_path)


def _stop_after(write, target: Path, error: type[BaseException]) -> None:
    with atomic_path(target) as part:
        write(part)
        raise error


def test_tensors_are_for_whom_the_umask_says(tmp_path):
    """As all other files; and what is read again is what was written."""
    from safetensors.numpy import load_file

    before = os.umask(0o027)
    try:
        write_tensors({"x": np.arange(3.0)}, tmp_path / "x.safetensors", {"format": "pt"})
        write_json(1, tmp_path / "x.json")
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
    finally:
        os.umask(before)
    assert load_file(tmp_path / "x.safetensors")["x"].tolist() == [0, 1, 2]


def test_what_is_wrong_with_a_disk_is_said_in_one_line():
    full = OSError(errno.ENOSPC, "x", "data/pairs/\n0.tar")
    assert trouble(full) == ("data/pairs/ 0.tar: No space left on device; make room, then run it again: what is "
                             "finished is kept")  # fmt: skip
    assert trouble(OSError("neither a number nor a file")) == ""
    assert trouble(FileNotFoundError(errno.ENOENT, "x", "ours")) == "", "rather a mistake of ours"
