"""Search with faiss, by an index that fits the number of vectors, or any factory string; on GPUs if
faiss supports them.

Chosen by size (`index.faiss_key: auto`), by recall of 257 neighbours and time on made-up clusters,
see docs/log.md:

- below FLAT_LIMIT rows, or GPU_FLAT_LIMIT on GPUs, Flat, which compares with all of them;
- below HNSW_LIMIT a graph (HNSW), which GPUs have not;
- from there on inverted lists (IVF), trained on a sample.

Vectors that do not fit into `index.memory` are compressed, to a byte a value (SQ8) or further by a
product quantiser (PQ). No array of all vectors is made beside the index.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from captionseg.arrays import Rows
from captionseg.records import UserError
from captionseg.retrieval.index import ALL_EFFORT, AUTO, MEMORY, Effort
from captionseg.storage.writing import atomic_path

FLAT_LIMIT, GPU_FLAT_LIMIT, HNSW_LIMIT = 100_000, 1_000_000, 250_000
LINKS = 32  # of a row of a graph, on each of two sides, 4 bytes each
CODES = (("Flat", 4.0), ("SQ8", 1.0), ("PQ{}", 0.25))
"""Forms of vectors in lists, with bytes a value; the last is taken where none fits."""

WIDE, LISTS, MANY, ROWS = 2, 4, 64, 16
"""Default effort of a search for k rows. A graph (HNSW) keeps WIDE * k candidates; faiss's default
of 16 misses a third of 256 neighbours. Of the lists of an IVF index, a share of 1 / LISTS is
searched, but no more than MANY, or as many as contain ROWS * k rows.
"""

SAMPLE = 64
"""Rows for each list of an IVF index that it is trained on, and at least LEAST."""
LEAST = 65_536
BLOCK = 4096
"""Rows that are added at once."""


def choose_key(count: int, width: int, memory: float, *, gpu: bool = False) -> str:
    """Return the factory string of an index by its size.

    Args:
        count: number of vectors.
        width: their number of values.
        memory: GiB that they may take.
        gpu: whether it is searched on GPUs.
    """
    values, most = count * width, memory * 2**30
    if count < (GPU_FLAT_LIMIT if gpu else FLAT_LIMIT) and 4 * values <= most:
        return "Flat"
    if count < HNSW_LIMIT and not gpu and 4 * values + 8 * LINKS * count <= most:
        return f"HNSW{LINKS}"
    code = next((code for code, size in CODES if size * values <= most), CODES[-1][0])
    parts = max(n for n in range(1, max(1, width // 4) + 1) if width % n == 0)  # of a quantiser
    return f"IVF{max(1, round(4 * count**0.5))},{code.format(parts)}"


class FaissIndex:
    """An index of faiss. See Index.

    Args:
        vectors: rows of the index, read block by block.
        key: factory string of faiss; auto chooses by size.
        effort: effort of a search that is not exact.
        memory: GiB that the vectors may take, with auto.

    Raises:
        UserError: if faiss cannot build the index.
    """

    def __init__(
        self,
        vectors: Rows | Float[np.ndarray, "row dim"],
        key: str = AUTO,
        effort: Effort = ALL_EFFORT,
        *,
        memory: float = MEMORY,
    ) -> None:
        import faiss

        vectors = Rows.of(vectors)
        if key == AUTO:
            key = choose_key(len(vectors), vectors.width, memory, gpu=count_gpus() > 0)
        try:
            self.index = faiss.index_factory(vectors.width, key, faiss.METRIC_INNER_PRODUCT)
            if not self.index.is_trained:
                self.index.train(draw_sample(vectors, count_lists(self.index), memory))
            for block in vectors.blocks(BLOCK):
                self.index.add(block)
            self._gpu = on_gpus(self.index)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"index.faiss_key: faiss cannot build {key!r} over {len(vectors)} rows: {reason}"
            ) from None
        self.effort = effort

    @classmethod
    def load(cls, path: Path, effort: Effort = ALL_EFFORT, *, shared: bool = False) -> FaissIndex:
        """Load an index that `save` wrote.

        Args:
            path: the file.
            effort: effort of a search that is not exact.
            shared: whether the file is mapped, so that all processes of a machine share its pages;
                such an index is searched on the CPU.

        Raises:
            UserError: if the file has none.
        """
        import faiss

        loaded_index = cls.__new__(cls)
        try:
            loaded_index.index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC * shared)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"{path}: faiss cannot read it: {reason}; delete it to build it again"
            ) from None
        loaded_index.effort = effort
        loaded_index._gpu = loaded_index.index if shared else on_gpus(loaded_index.index)
        return loaded_index

    @property
    def on_gpu(self) -> bool:
        """Whether it searches on GPUs."""
        return self._gpu is not self.index

    @property
    def exact(self) -> bool:
        """See Index."""
        import faiss

        return isinstance(faiss.downcast_index(self.index), faiss.IndexFlat)

    def search(
        self, queries: Float[np.ndarray, "query dim"], k: int
    ) -> tuple[Float32[np.ndarray, "query {k}"], Int64[np.ndarray, "query {k}"]]:
        """See Index.search."""
        self.widen(k)
        score, rows = self._gpu.search(np.ascontiguousarray(queries, np.float32), k)
        return np.where(rows < 0, -np.inf, score), rows

    def widen(self, k: int) -> None:
        """Set the effort of the next search so that k rows can be found; does nothing for indexes
        without such settings.
        """
        import faiss

        settings = {"efSearch": self.effort.ef_search or max(64, WIDE * k)}
        with contextlib.suppress(RuntimeError):
            lists = faiss.extract_index_ivf(self.index).nlist
            enough = -(-ROWS * k * lists // max(1, self.index.ntotal))
            settings["nprobe"] = min(
                lists, self.effort.nprobe or max(min(-(-lists // LISTS), MANY), enough)
            )
        for searched in {id(index): index for index in (self.index, self._gpu)}.values():
            space = faiss.ParameterSpace() if searched is self.index else faiss.GpuParameterSpace()
            for name, value in settings.items():
                with contextlib.suppress(RuntimeError):
                    space.set_index_parameter(searched, name, value)

    def save(self, path: Path) -> None:
        """Write the CPU index to a file for `faiss.read_index`."""
        import faiss

        with atomic_path(path) as part:
            faiss.write_index(self.index, str(part))


def on_gpus(index: Any) -> Any:
    """Copy an index of faiss to all GPUs, if faiss supports them; a graph stays where it is."""
    import faiss

    if not count_gpus() or isinstance(faiss.downcast_index(index), faiss.IndexHNSW):
        return index
    return faiss.index_cpu_to_all_gpus(index)


def count_gpus() -> int:
    """Return the number of GPUs that faiss uses."""
    import faiss

    return getattr(faiss, "get_num_gpus", int)()


def count_lists(index: Any) -> int:
    """Return the number of lists of an IVF index of faiss; 0 for others."""
    import faiss

    with contextlib.suppress(RuntimeError):
        return faiss.extract_index_ivf(index).nlist
    return 0


def draw_sample(vectors: Rows, lists: int, memory: float) -> Float32[np.ndarray, "_row _dim"]:
    """Return evenly spaced rows to train an index with a number of lists on.

    Args:
        vectors: all rows.
        lists: number of lists.
        memory: GiB of the index; the sample takes a quarter of it at most.
    """
    most = int(memory * 2**30 / 4 / (4 * vectors.width))
    count = max(1, min(len(vectors), max(SAMPLE * lists, LEAST), most))
    return vectors[np.arange(count) * len(vectors) // count]
