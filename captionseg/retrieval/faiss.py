"""faiss: Flat for small corpora, HNSW for large ones, or any factory string; on the GPU where faiss has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from captionseg.records import UserError
from captionseg.storage import atomic_path

FLAT_LIMIT = 100_000


class FaissIndex:
    """Args: vectors [N, D] float32; key: a factory string, None chooses Flat below FLAT_LIMIT rows, else HNSW32."""

    def __init__(self, vectors: np.ndarray, key: str | None = None) -> None:
        import faiss

        vectors = np.ascontiguousarray(vectors, np.float32)
        key = key or ("Flat" if len(vectors) < FLAT_LIMIT else "HNSW32")
        try:
            self.index = faiss.index_factory(vectors.shape[1], key, faiss.METRIC_INNER_PRODUCT)
            if not self.index.is_trained:
                self.index.train(vectors)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"index.faiss_key: faiss cannot build {key!r} over {len(vectors)} rows: {reason}") from None
        self.index.add(vectors)
        self._gpu = on_gpus(self.index)

    @classmethod
    def load(cls, path: Path) -> FaissIndex:
        """The index that `save` wrote.

        Raises:
            UserError: if the file holds none.
        """
        import faiss

        found = cls.__new__(cls)
        try:
            found.index = faiss.read_index(str(path))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"{path}: faiss cannot read it; delete it, it is made again: {reason}") from None
        found._gpu = on_gpus(found.index)
        return found

    @property
    def on_gpu(self) -> bool:
        """Does it search on GPUs?"""
        return self._gpu is not self.index

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See Index.search."""
        score, rows = self._gpu.search(np.ascontiguousarray(queries, np.float32), k)
        return np.where(rows < 0, -np.inf, score), rows

    def save(self, path: Path) -> None:
        """Write the (CPU) index as one file that `faiss.read_index` reads."""
        import faiss

        with atomic_path(path) as part:
            faiss.write_index(self.index, str(part))


def on_gpus(index: Any) -> Any:
    """A faiss index on all GPUs, where faiss has any."""
    import faiss

    return faiss.index_cpu_to_all_gpus(index) if getattr(faiss, "get_num_gpus", int)() else index
