"""Objects with large arrays, written to a folder once and opened by all workers of a machine, which
then share one copy in memory.
"""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from captionseg.storage.reading import read_array
from captionseg.storage.writing import atomic_path, write_array

OBJECT = "object.pickle"
SMALL = 1 << 16  # bytes; smaller arrays are not worth a file


class _Pickler(pickle.Pickler):
    """Writes a memory-mapped file as its path."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.memmap) and value.filename is not None:
            whole = value.offset + value.nbytes == os.path.getsize(value.filename)
            if whole and str(value.filename).endswith(".npy"):
                return read_array, (str(value.filename),)
        return NotImplemented


def share(value: Any, folder: Path) -> None:
    """Write an object to a folder, for `open_shared` in any process of this run.

    Numpy and Arrow arrays become files of their own; what is a memory-mapped file already is not
    copied. The object itself is written last, so what `is_shared` is whole.
    """
    arrays: list[np.ndarray] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        array = np.frombuffer(buffer.raw(), np.uint8)
        if array.nbytes < SMALL:
            return True  # inside the pickle
        arrays.append(array)
        return False

    stream = io.BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=keep).dump(value)
    for number, array in enumerate(arrays):
        write_array(array, folder / f"{number}.npy")
    with atomic_path(folder / OBJECT) as part:
        part.write_bytes(pickle.dumps((len(arrays), stream.getvalue())))


def is_shared(folder: Path) -> bool:
    """Return whether `share` has finished in a folder."""
    return (folder / OBJECT).exists()


def open_shared(folder: Path) -> Any:
    """Open what `share` wrote; its large arrays are memory-mapped and cannot be written to."""
    count, content = pickle.loads((folder / OBJECT).read_bytes())
    return pickle.loads(content, buffers=[read_array(folder / f"{n}.npy") for n in range(count)])
