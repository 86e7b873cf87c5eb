"""Columns of many rows on disk: written a part at a time, read as memory maps.

Processes of one machine that map a file share its pages, and none of them is held by a process.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from captionseg.arrays import RaggedArray
from captionseg.storage.reading import read_array, read_json
from captionseg.storage.writing import atomic_path, write_json

DESCRIPTION = "made_of.json"


@contextlib.contextmanager
def prepare_folder(folder: Path, of: Mapping[str, Any]) -> Iterator[Path | None]:
    """Yield a new folder that is renamed to `folder` after the block; None if that is there.

    Args:
        folder: the folder.
        of: what it is made of; a folder of anything else is made anew.
    """
    if (folder / DESCRIPTION).is_file():
        if read_json(folder / DESCRIPTION) == of:
            yield None
            return
        shutil.rmtree(folder)
    for part in folder.parent.glob(f".{folder.name}.*.part"):  # of a run that was killed
        shutil.rmtree(part)
    with atomic_path(folder) as part:
        part.mkdir()
        yield part
        write_json(of, part / DESCRIPTION)


class GrowingArray:
    """An `.npy` file that rows are appended to; its header is right after `close`.

    Args:
        path: the file.
        dtype: of the values.
        item: shape of a row.
    """

    def __init__(self, path: Path, dtype: Any, item: tuple[int, ...] = ()) -> None:
        self.dtype, self.item, self.count = np.dtype(dtype), item, 0
        self.stream = path.open("w+b")
        self.write_header()

    def write_header(self) -> None:
        """Write the header, which numpy pads so that the number of rows may grow."""
        header = np.lib.format.header_data_from_array_1_0(np.empty((0, *self.item), self.dtype))
        header["shape"] = (self.count, *self.item)
        self.stream.seek(0)
        np.lib.format.write_array_header_1_0(self.stream, header)

    def append(self, rows: np.ndarray) -> None:
        """Append rows [n, *item], converted to the type of the file."""
        rows = np.ascontiguousarray(rows, self.dtype)
        if rows.shape[1:] != self.item:
            raise RuntimeError(f"rows of {rows.shape[1:]}, expected {self.item}")
        self.stream.write(rows.data if rows.size else b"")
        self.count += len(rows)

    def close(self) -> None:
        """Write the number of rows and close the file."""
        self.write_header()
        self.stream.close()


class ListWriter:
    """Writes lists, end to end: NAME_start.npy, see `RaggedArray`, and NAME_COLUMN.npy.

    Args:
        folder: of the files.
        name: see above.
        columns: name -> type of the values of a list.
        least: the width is at least this, also where all lists are empty.

    Attributes:
        width: the longest list so far.
    """

    def __init__(
        self, folder: Path, name: str, columns: Mapping[str, Any], *, least: int = 0
    ) -> None:
        self.start = GrowingArray(folder / f"{name}_start.npy", np.int64)
        self.start.append(np.zeros(1))
        self.columns = {
            column: GrowingArray(folder / f"{name}_{column}.npy", dtype)
            for column, dtype in columns.items()
        }
        self.width, self.total = least, 0

    def append(
        self, count: np.ndarray, columns: Mapping[str, np.ndarray], kept: Any = None
    ) -> None:
        """Append n lists.

        Args:
            count: [n] their lengths.
            columns: values of all lists, end to end.
            kept: [n] bool, which lists are written; None writes all. The others count for the
                width.
        """
        self.width = max(self.width, int(count.max(initial=0)))
        if kept is not None and not kept.all():
            inside = np.repeat(kept, count)
            count = count[kept]
            columns = {name: values[inside] for name, values in columns.items()}
        self.start.append(self.total + count.cumsum())
        self.total += int(count.sum())
        for name, file in self.columns.items():
            file.append(columns[name])

    def close(self) -> None:
        """Finish all files."""
        for file in (self.start, *self.columns.values()):
            file.close()


class TextWriter:
    """Writes texts: NAME_start.npy and NAME_byte.npy, UTF-8 end to end."""

    def __init__(self, folder: Path, name: str) -> None:
        self.bytes = ListWriter(folder, name, {"byte": np.uint8})

    def append(self, texts: pa.Array) -> None:
        """Append the n texts of an array of Arrow's, nulls as empty."""
        texts = texts.cast(pa.large_binary()).fill_null(b"")
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        values = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
        self.bytes.append(np.diff(ends), {"byte": values})

    def close(self) -> None:
        """Finish both files."""
        self.bytes.close()


class StoredTexts(Sequence[str]):
    """N texts of a TextWriter, decoded when they are asked for.

    Args:
        start: [N + 1] int64.
        data: bytes of all texts, uint8; text i is `data[start[i]:start[i + 1]]`.
    """

    def __init__(self, start: np.ndarray, data: np.ndarray) -> None:
        self.start, self.data = np.asarray(start), np.asarray(data)

    def __len__(self) -> int:
        return len(self.start) - 1

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number %= len(self)
        return self.data[self.start[number] : self.start[number + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), 1024):
            part = self.start[first : first + 1025]
            data = self.data[part[0] : part[-1]].tobytes()
            ends = (part - part[0]).tolist()
            yield from (data[a:b].decode() for a, b in itertools.pairwise(ends))


def read_lists(
    folder: Path, name: str, width: int, pads: Mapping[str, float]
) -> dict[str, RaggedArray]:
    """Map the columns of a ListWriter: column -> its rows, filled to `width` with its pad."""
    start = read_array(folder / f"{name}_start.npy")
    return {
        column: RaggedArray(start, read_array(folder / f"{name}_{column}.npy"), width, pad)
        for column, pad in pads.items()
    }


def read_texts(folder: Path, name: str) -> StoredTexts:
    """Map the texts of a TextWriter."""
    return StoredTexts(*(read_array(folder / f"{name}_{part}.npy") for part in ("start", "byte")))
