"""Arrays by name, in a folder of `.npy` files that the processes of a machine map together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from captionseg.storage.reading import read_array
from captionseg.storage.writing import atomic_path, write_array


def write_named(arrays: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write NAME.npy for each array; the folder appears when all of them are whole."""
    with atomic_path(folder) as part:
        part.mkdir()
        for name, array in arrays.items():
            write_array(array, part / f"{name}.npy")


def read_named(folder: Path) -> dict[str, np.ndarray]:
    """Memory-map the arrays of a folder; they cannot be written to."""
    return {path.stem: np.asarray(read_array(path)) for path in sorted(folder.glob("*.npy"))}
