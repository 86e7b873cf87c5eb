"""What stages left of the regions of all pictures, read by row of the index.

The stage regions leaves labels/labels_NNNNN.arrow, packed maps of ids (uint8 [n, side, side]), and
count/count_NNNNN.npy, numbers of regions (uint8 [n]). The stage index leaves
regions/regions_NNNNN.npy: the pooled features of the regions of a shard end to end, float16
[sum of counts, F].
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Shaped, UInt8

from captionseg.arrays import ShardedArray
from captionseg.storage.folders import map_arrays


class RegionFeatures:
    """Pooled features of the regions of N pictures, [N, S, F]; zeros after a picture's last region.

    Args:
        values: [sum of counts, F], picture by picture.
        count: number of regions of each picture.

    Attributes:
        count: [N] as given.
        shape: (N, S, F), where S is the largest count.
    """

    def __init__(self, values: ShardedArray, count: UInt8[np.ndarray, " picture"]) -> None:
        self.values, self.count = values, count
        self.start = np.concatenate([[0], np.cumsum(count, dtype=np.int64)])
        self.shape = (len(count), int(count.max(initial=0)), values.shape[1])

    @staticmethod
    def of_folders(
        regions: Path, features: Path, rows: Mapping[str, int] | None = None
    ) -> RegionFeatures:
        """Map the files of both stages.

        Args:
            regions: folder of the regions stage.
            features: folder of the features of the index stage.
            rows: see `map_arrays`.
        """
        counts = map_arrays(regions / "count", rows)
        sums = None
        if rows is not None:
            sums = {shard: int(count.sum()) for shard, count in zip(rows, counts, strict=True)}
        values = ShardedArray.of_folder(features / "regions", sums)
        return RegionFeatures(values, np.concatenate(counts))

    def __len__(self) -> int:
        return len(self.count)

    def __getitem__(
        self, rows: Integer[np.ndarray, " row"]
    ) -> Shaped[np.ndarray, "row region feature"]:
        """Return rows in the requested order, padded to S regions."""
        first, place = self.start[rows, None], np.arange(self.shape[1])
        inside = place < self.count[rows, None]
        out = np.zeros((*inside.shape, self.shape[2]), self.values.dtype)
        out[inside] = self.values[(first + place)[inside]]
        return out


def map_labels(regions: Path, rows: Mapping[str, int] | None = None) -> ShardedArray:
    """Map the labels of all pictures: [N, side, side], decompressed when they are read.

    Args:
        regions: folder of the regions stage.
        rows: see `map_arrays`.
    """
    return ShardedArray.of_folder(regions / "labels", rows, packed=True)
