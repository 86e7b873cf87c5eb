"""Pictures of the run's own data as models want them: features that are there already, masks where they are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from captionseg.arrays import ShardedArray
from captionseg.datasets.shards import read_truth
from captionseg.records import Inputs


@dataclass(frozen=True)
class Known:
    """The pictures of a split whose masks are known.

    Attributes:
        uid: [n].
        rows: [n] int64, their rows of the index.
        masks: [n] PNG bytes.
    """

    uid: list[str]
    rows: np.ndarray
    masks: list[bytes]

    @staticmethod
    def of_split(index: Path, truth: Path, split: str) -> Known:
        """In the order of the index; there may be none."""
        ids = pq.read_table(index / "ids.parquet", columns=["uid", "split"]).to_pydict()
        known = read_truth(truth)
        masks = dict(zip(known["uid"].to_pylist(), known["mask"].to_pylist(), strict=True))
        rows = [i for i, uid in enumerate(ids["uid"]) if ids["split"][i] == split and uid in masks]
        uid = [ids["uid"][row] for row in rows]
        return Known(uid, np.array(rows, np.int64), [masks[u] for u in uid])

    def __len__(self) -> int:
        return len(self.uid)


class PreparedInputs:
    """Model inputs of rows of the index, read when asked for.

    Args:
        regions: folder of the regions stage.
    """

    def __init__(self, regions: Path) -> None:
        self.pooled, self.labels, self.count = (ShardedArray.of_folder(regions / name)
                                                for name in ("pooled", "labels", "count"))

    def __call__(self, rows: np.ndarray, size: tuple[int, int]) -> Inputs:
        """Inputs of some rows; `size` is (height, width) of the masks wanted."""
        count = self.count[rows].astype(np.int64)
        most = max(1, int(count.max(initial=0)))
        return Inputs(torch.from_numpy(self.pooled[rows][:, :most].astype(np.float32)),
                      torch.from_numpy(np.arange(most) < count[:, None]), torch.from_numpy(self.labels[rows]), size)
