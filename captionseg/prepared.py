"""Model inputs from the run's own data: prepared features, and true masks of labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyarrow import compute
from torch import Tensor
from torch.nn import functional as F

from captionseg.datasets.ids import stream_ids
from captionseg.datasets.pair_tables import read_shard, read_truth
from captionseg.datasets.random_access import Pictures
from captionseg.dense_maps import DenseMaps
from captionseg.grids import MEAN, STD, squash
from captionseg.model_inputs import Inputs
from captionseg.segmenters.interfaces import MaskMaker
from captionseg.segmenters.region_files import RegionFeatures, map_labels

pc: Any = compute  # its functions are made when it is imported


@dataclass(frozen=True)
class LabelledPictures:
    """The pictures of a split that have true masks.

    Attributes:
        uid: [n].
        rows: [n] int64, their rows in the index.
        masks: [n] PNG bytes.
    """

    uid: list[str]
    rows: np.ndarray
    masks: list[bytes]

    @staticmethod
    def of_split(
        index: Path, truth: Path, split: str, *, pairs: Path | None = None
    ) -> LabelledPictures:
        """Read them in the order of the index; there may be none.

        Args:
            index: folder of the index stage.
            truth: folder of masks.
            split: the split.
            pairs: shards of pairs, for scoring: a picture with the same mask in several pairs
                counts once, as the first. None counts every pair.
        """
        known = read_truth(truth)
        masks = dict(zip(known["uid"].to_pylist(), known["mask"].to_pylist(), strict=True))
        rows = [
            row
            for ids in stream_ids(index)
            for row in ids.filter(pc.equal(ids["split"], split)).to_pylist()
            if row["uid"] in masks
        ]
        if pairs is not None:
            rows = drop_repeated_pictures(rows, masks, pairs)
        uid, row = ([pair[name] for pair in rows] for name in ("uid", "row"))
        return LabelledPictures(uid, np.array(row, np.int64), [masks[u] for u in uid])

    def __len__(self) -> int:
        return len(self.uid)


def drop_repeated_pictures(
    rows: Sequence[dict[str, Any]], masks: Mapping[str, bytes], pairs: Path
) -> list[dict[str, Any]]:
    """Keep the first of all rows of the index, schema IDS, with the same picture and mask."""
    shown: dict[str, str | None] = {}
    for shard in dict.fromkeys(row["shard"] for row in rows):
        table = read_shard(pairs, shard)
        shown.update(zip(table["uid"].to_pylist(), table["sha256"].to_pylist(), strict=True))
    first: dict[tuple[str, bytes], dict[str, Any]] = {}
    for row in rows:
        uid = row["uid"]
        first.setdefault((shown.get(uid) or uid, masks[uid]), row)
    return list(first.values())


class PreparedInputs:
    """Model inputs for rows of the index, read on demand.

    Args:
        regions: folder of the regions stage, with `features`; None makes no regions.
        features: folder of the features of the index stage, pooled over these regions.
        pictures: pictures of the index's rows.
        dense: their dense features.
        side: side of the square that pictures are squashed to, so that they can be batched; 0
            keeps their size.
        masks: makes masks of pictures; those of one batch must have grids of equal size.
        pixels: whether inputs include the pictures, not only what is made from them.
        shards: number of rows per shard that files must have; None does not check.

    Raises:
        ValueError: for regions without features.
    """

    def __init__(
        self,
        *,
        regions: Path | None = None,
        features: Path | None = None,
        pictures: Pictures | None = None,
        dense: DenseMaps | None = None,
        side: int = 0,
        masks: MaskMaker | None = None,
        pixels: bool = True,
        shards: Mapping[str, int] | None = None,
    ) -> None:
        self.pictures, self.side, self.masks, self.pixels = pictures, side, masks, pixels
        self.dense, self.labels, self.pooled = dense, None, None
        if regions and not features:
            raise ValueError(f"{regions}: regions need the folder of their features")
        if regions and features:
            self.labels = map_labels(regions, shards)
            self.pooled = RegionFeatures.of_folders(regions, features, shards)

    def __call__(self, rows: np.ndarray, size: tuple[int, int]) -> Inputs:
        """Return the inputs of some rows; `size` is (height, width) of the predicted masks."""
        inputs = self.of_regions(rows, size)
        image = self.images(rows) if self.pictures is not None and self.pixels else None
        dense = (
            torch.from_numpy(self.dense[rows].astype(np.float32))
            if self.dense is not None
            else None
        )
        return replace(inputs, image=image, dense=dense, masks=self.of_masks(rows))

    def of_regions(self, rows: np.ndarray, size: tuple[int, int]) -> Inputs:
        """Return features and labels of regions; empty ones if there are no regions."""
        if self.pooled is None or self.labels is None:
            return without_regions(len(rows), size)
        count = self.pooled.count[rows].astype(np.int64)
        most = max(1, int(count.max(initial=0)))
        return Inputs(
            torch.from_numpy(self.pooled[rows][:, :most].astype(np.float32)),
            torch.from_numpy(np.arange(most) < count[:, None]),
            torch.from_numpy(self.labels[rows]),
            size,
        )

    def of_masks(self, rows: np.ndarray) -> Tensor | None:
        """Return masks bool [n, M, h, w]; None without a mask maker."""
        if self.masks is None or self.pictures is None:
            return None
        return stack_masks([self.masks.masks(self.pictures[int(row)])[0] for row in rows])

    def images(self, rows: np.ndarray) -> Tensor:
        """Return normalised pictures [n, 3, H, W]."""
        assert self.pictures is not None
        images = [self.pictures[int(row)] for row in rows]
        return torch.stack(
            [normalise_image(squash(image, self.side) if self.side else image) for image in images]
        )


def stack_masks(masks: Sequence[np.ndarray]) -> Tensor:
    """Stack masks [m, h, w] of pictures on equal grids to [n, M, h, w], padded with empty masks."""
    most = max(len(picture_masks) for picture_masks in masks)
    return torch.stack(
        [
            F.pad(torch.from_numpy(picture_masks), (0, 0, 0, 0, 0, most - len(picture_masks)))
            for picture_masks in masks
        ]
    )


def normalise_image(image: np.ndarray) -> Tensor:
    """Normalise uint8 [H, W, 3] to float32 [3, H, W] by ImageNet's mean and deviation."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255.0
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def without_regions(count: int, size: tuple[int, int]) -> Inputs:
    """Return empty inputs for `count` images."""
    return Inputs(
        torch.zeros(count, 0, 0),
        torch.zeros(count, 0, dtype=torch.bool),
        torch.zeros(count, 1, 1, dtype=torch.uint8),
        size,
    )


def pixel_inputs(image: Tensor, size: tuple[int, int]) -> Inputs:
    """Return inputs with only pictures [B, 3, H, W]."""
    empty = without_regions(len(image), size).map(lambda tensor: tensor.to(image.device))
    return replace(empty, image=image)
