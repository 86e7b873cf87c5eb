import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from captionseg.records import UserError
from captionseg.storage.folders import map_arrays, read_arrays, read_tables
from captionseg.storage.reading import (
    explain_read_errors,
    read_array,
    read_batches,
    read_json,
    read_table,
)
from captionseg.storage.writing import (
    atomic_path,
    describe_trouble,
    open_array,
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


# ------------------------------------------------------------------------------------------------
# damaged files


SCHEMA = pa.schema([("uid", pa.string()), ("size", pa.int32())])
WHOLE = pa.table({"uid": ["a", "b"], "size": pa.array([1, 2], pa.int32())})


def test_a_column_that_is_missing_or_of_another_type_is_not_made_up(tmp_path):
    path = tmp_path / "00000.parquet"
    write_table(WHOLE.append_column("more", pa.array([0, 0])), path)
    assert read_table(path, schema=SCHEMA).equals(WHOLE)
    assert read_table(path, columns=["more", "uid"]).schema.names == ["more", "uid"]
    for table, reason in (
        (WHOLE.drop_columns(["size"]), "it has no column size"),
        (pa.table({"uid": ["a"], "size": ["1"]}), "column size is string, expected int32"),
    ):
        write_table(table, path)
        for read in (
            read_table,
            lambda path, schema: list(read_batches(path, schema.names, 1, schema=schema)),
        ):
            with pytest.raises(
                UserError, match=rf"00000.parquet: {reason}; delete it and run `dvc repro`"
            ):
                read(path, schema=SCHEMA)
    write_table(WHOLE, tmp_path / "00001.parquet")
    with pytest.raises(
        UserError, match=r"00001.parquet: columns or types differ from 00000.parquet"
    ):
        read_tables(tmp_path)


def test_lists_are_equal_whatever_their_writer_calls_what_is_inside(tmp_path):
    """pyarrow calls it element, others item."""
    for name in ("item", "element"):
        inside = pa.list_(pa.field(name, pa.string()))
        write_table(pa.table({"x": pa.array([["a"]], inside)}), tmp_path / f"{name}.parquet")
        assert (
            len(
                read_table(
                    tmp_path / f"{name}.parquet", schema=pa.schema([("x", pa.list_(pa.string()))])
                )
            )
            == 1
        )


def kinds(folder: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """A whole file of each kind, and what reads it."""
    write_table(WHOLE, folder / "a.parquet")
    write_array(np.arange(100.0), folder / "a.npy")
    write_json({"x": [1] * 50}, folder / "a.json")
    save_file({"x": np.zeros(50)}, folder / "a.safetensors")

    def tensors(path: Path) -> object:
        with explain_read_errors(path):
            return load_file(path)

    return {
        "parquet": (folder / "a.parquet", read_table),
        "npy": (folder / "a.npy", read_array),
        "json": (folder / "a.json", read_json),
        "safetensors": (folder / "a.safetensors", tensors),
    }


@pytest.mark.parametrize("kind", ["parquet", "npy", "json", "safetensors"])
def test_a_file_that_is_damaged_or_missing_is_one_line_that_names_it(tmp_path, kind):
    path, read = kinds(tmp_path)[kind]
    read(path)
    whole = path.read_bytes()
    for content in (
        b"",
        whole[: len(whole) // 2],
        whole[:-1],
        b"\0" * len(whole),
        b"[1, 2]",
        b"PK\x03\x04",
    ):
        path.write_bytes(content)
        if kind == "json" and content == whole[:-1]:
            continue  # the newline at its end
        said = rf"^\S*a\.{kind}: cannot be read \(.+\); delete it and run `dvc repro`"
        with pytest.raises(UserError, match=said) as error:
            read(path)
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(UserError, match=rf"a\.{kind}: no such file; run `dvc repro`"):
        read(path)


def test_an_array_that_is_longer_than_it_says_or_an_archive_is_refused(tmp_path):
    write_array(np.arange(4), tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes((tmp_path / "a.npy").read_bytes() + b"more")
    with pytest.raises(
        UserError, match=r"b.npy: cannot be read .it is longer than its header says"
    ):
        read_array(tmp_path / "b.npy")
    np.savez(tmp_path / "c.npz", a=np.arange(3))
    (tmp_path / "c.npz").rename(tmp_path / "c.npy")
    with pytest.raises(UserError, match=r"c.npy: cannot be read .*magic string"):
        read_array(tmp_path / "c.npy")
    np.save(tmp_path / "d.npy", np.array([{}], object))
    with pytest.raises(UserError, match=r"d.npy: cannot be read .*Python objects"):
        read_array(tmp_path / "d.npy")


@pytest.mark.parametrize(
    ("lose", "reason"),
    [
        (lambda f: (f / "x_b.npy").unlink(), r"x_b.npy: no such file, so rows are missing"),
        (
            lambda f: (f / "x_b.npy").rename(f / "x_b.NPY"),
            r"x_b.NPY: the name must end in .npy, in lower case",
        ),
        (
            lambda f: np.save(f / "x_b.npy", np.zeros((1, 3))),
            r"x_b.npy: cannot be read .expected 2 rows, found 1",
        ),
        (
            lambda f: np.save(f / "x_b.npy", np.zeros((2, 4))),
            r"x_b.npy: rows are float64\[4\], but in x_a.npy",
        ),
        (
            lambda f: np.save(f / "x_d.npy", np.zeros((2, 3))),
            r"x_d.npy: belongs to no shard of these data",
        ),
    ],
)
def test_no_row_moves_up_where_a_shard_was_lost(tmp_path, lose, reason):
    rows, folder = {"a": 2, "b": 2, "c": 1}, tmp_path / "x"
    for shard, count in rows.items():
        write_array(np.full((count, 3), ord(shard), float), folder / f"x_{shard}.npy")
    (folder / "._x_a.npy").write_bytes(b"what a Mac leaves beside files")
    assert read_arrays(folder, rows)[:, 0].tolist() == [97, 97, 98, 98, 99]
    lose(folder)
    with pytest.raises(UserError, match=reason):
        read_arrays(folder, rows)


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
    assert describe_trouble(full) == (
        "data/pairs/ 0.tar: No space left on device; free some space, then run it again; "
        "finished parts are kept"
    )
    assert describe_trouble(OSError("neither a number nor a file")) == ""
    assert describe_trouble(FileNotFoundError(errno.ENOENT, "x", "ours")) == "", (
        "rather a mistake of ours"
    )


def test_an_array_that_is_written_by_block_is_as_if_saved_at_once(tmp_path):
    whole = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    write_array(whole.astype(np.float16), tmp_path / "whole.npy")
    with open_array(tmp_path / "blocks.npy", whole.shape, np.float16) as append:
        for rows in (whole[:1], whole[1:1], whole[1:].transpose(0, 2, 1).transpose(0, 2, 1)):
            append(rows)
        assert not (tmp_path / "blocks.npy").exists()
    assert (tmp_path / "blocks.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_an_array_of_another_shape_than_was_said_is_not_left(tmp_path):
    with (
        pytest.raises(RuntimeError, match="1 rows were written, expected 2"),
        open_array(tmp_path / "a.npy", (2, 3), np.int32) as append,
    ):
        append(np.zeros((1, 3), np.int32))
    with (
        pytest.raises(RuntimeError, match=r"rows \(4,\), expected \(3,\)"),
        open_array(tmp_path / "a.npy", (2, 3), np.int32) as append,
    ):
        append(np.zeros((1, 4), np.int32))
    assert not list(tmp_path.iterdir())


def test_more_files_than_a_process_may_open_can_be_mapped(tmp_path):
    for number in range(40):
        np.save(tmp_path / f"a_{number:02d}.npy", np.full(3, number))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
        arrays = map_arrays(tmp_path)
        assert [int(array[0]) for array in arrays] == list(range(40))
        lowered = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert 40 < lowered[0] <= hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    map_arrays(tmp_path)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_fields_of_structs_in_lists_are_read_alone(tmp_path):
    """Whatever a writer calls the elements of lists."""
    rows = [{"a": 1, "b": "x"}], [], [{"a": 2, "b": "y"}, {"a": 3, "b": "z"}]
    table = pa.table({"rows": list(rows), "n": [1, 2, 3]})
    for name, compliant in (("element", True), ("item", False)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table, path, use_compliant_nested_type=compliant)
        schema = pq.read_schema(path)
        parts = list(read_batches(path, ["rows"], 2, schema=schema, fields=("b",)))
        assert [len(part) for part in parts] == [2, 1]
        assert pa.Table.from_batches(parts).to_pydict() == {
            "rows": [[{"b": row["b"]} for row in some] for some in rows]
        }
