"""Search with faiss: Flat for small corpora, HNSW for large ones, or any factory string; on GPUs if
faiss supports them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from captionseg.records import UserError
from captionseg.retrieval.index import ALL_EFFORT, Effort
from captionseg.storage.writing import atomic_path

FLAT_LIMIT = 100_000
WIDE, LISTS, ROWS = 2, 4, 16
"""Default effort of a search for k rows. A graph (HNSW) keeps WIDE * k candidates; faiss's default
of 16 misses a third of 256 neighbours. Of the lists of an IVF index, a share of 1 / LISTS is
searched, or as many as contain ROWS * k rows.
"""


class FaissIndex:
    """An index of faiss. See Index.

    Args:
        vectors: rows of the index.
        key: factory string of faiss; None means Flat below FLAT_LIMIT rows, else HNSW32.
        effort: effort of a search that is not exact.

    Raises:
        UserError: if faiss cannot build the index.
    """

    def __init__(
        self,
        vectors: Float[np.ndarray, "row dim"],
        key: str | None = None,
        effort: Effort = ALL_EFFORT,
    ) -> None:
        import faiss

        vectors = np.ascontiguousarray(vectors, np.float32)
        key = key or ("Flat" if len(vectors) < FLAT_LIMIT else "HNSW32")
        try:
            self.index = faiss.index_factory(vectors.shape[1], key, faiss.METRIC_INNER_PRODUCT)
            if not self.index.is_trained:
                self.index.train(vectors)
            self.index.add(vectors)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"index.faiss_key: faiss cannot build {key!r} over {len(vectors)} rows: {reason}"
            ) from None
        self.effort = effort
        self._gpu = on_gpus(self.index)

    @classmethod
    def load(cls, path: Path) -> FaissIndex:
        """Load an index that `save` wrote.

        Raises:
            UserError: if the file has none.
        """
        import faiss

        loaded_index = cls.__new__(cls)
        try:
            loaded_index.index = faiss.read_index(str(path))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"{path}: faiss cannot read it: {reason}; delete it to build it again"
            ) from None
        loaded_index.effort = ALL_EFFORT
        loaded_index._gpu = on_gpus(loaded_index.index)
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
            settings["nprobe"] = min(lists, self.effort.nprobe or max(-(-lists // LISTS), enough))
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
    """Copy an index of faiss to all GPUs, if faiss supports them."""
    import faiss

    return faiss.index_cpu_to_all_gpus(index) if getattr(faiss, "get_num_gpus", int)() else index
