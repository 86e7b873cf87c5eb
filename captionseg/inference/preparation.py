"""Pictures as models read them, from pixels alone, as the stages make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from captionseg.encoders.encoder import Encoder
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import normalise_image, pixel_inputs, stack_masks, without_regions
from captionseg.records import Inputs
from captionseg.segmenters.pooling import pool_regions
from captionseg.segmenters.segmenter import MaskMaker, RegionMaker


def looks_at_regions(reads: InputSpec, refine: str, masks: bool) -> bool:
    """Whether a model, or the refinement of its masks, looks at where regions lie.

    Args:
        reads: of the model.
        refine: method of RefineParams.
        masks: whether masks take the part of regions.
    """
    return (reads.labels and not masks) or refine == "segments"


def looks_at_pixels(reads: InputSpec, refine: str) -> bool:
    """Whether a model, or the refinement of its masks, looks at pixels."""
    return bool(reads.picture) or refine == "pamr"


def preparation(
    reads: InputSpec,
    refine: str,
    masks: MaskMaker | None,
    *,
    encoder: Callable[[], Encoder] | None,
    maker: RegionMaker | None,
) -> Preparation:
    """Picture -> what a model and the refinement of its masks read of it.

    Args:
        reads: of the model.
        refine: method of RefineParams.
        masks: makes masks that take the part of regions.
        encoder: gives the frozen encoder; called where the model needs one.
        maker: of regions; has to be there where they are looked at.
    """
    frozen = encoder() if encoder is not None and reads.encoder else None
    regions = looks_at_regions(reads, refine, masks is not None)
    return Preparation(
        reads, frozen, maker if regions else None, looks_at_pixels(reads, refine), masks
    )


@dataclass(frozen=True)
class Preparation:
    """Picture -> inputs, as the stages make them.

    Attributes:
        reads: of the model.
        encoder: of the features; None where the model needs none.
        maker: of regions; None where nobody looks at them.
        pixels: whether anybody looks at them.
        masks: makes masks that take the part of regions, if anything does.
    """

    reads: InputSpec
    encoder: Encoder | None
    maker: RegionMaker | None
    pixels: bool
    masks: MaskMaker | None = None

    def __call__(self, image: np.ndarray) -> Inputs:
        """The inputs of uint8 [H, W, 3]."""
        size = (image.shape[0], image.shape[1])
        inputs = (
            pixel_inputs(normalise_image(image)[None], size)
            if self.pixels
            else without_regions(1, size)
        )
        if self.masks is not None:
            inputs = replace(inputs, masks=stack_masks([self.masks.masks(image)[0]]))
        if self.encoder is None or self.reads.picture:
            return replace(inputs, **self.regions(image, None))
        # fp16 as it is stored for training
        dense = self.encoder.features([image]).dense[0].astype(np.float16)
        return replace(
            inputs,
            dense=torch.from_numpy(dense.astype(np.float32))[None],
            **self.regions(image, dense),
        )

    def regions(self, image: np.ndarray, dense: np.ndarray | None) -> dict[str, torch.Tensor]:
        """Fields of Inputs: labels, and features where there are any."""
        if self.maker is None:
            return {}
        labels = self.maker.regions(image)
        count = int(labels.max()) + 1
        pooled = (
            np.zeros((count, 0), np.float32)
            if dense is None
            else pool_regions(dense, labels, count)
        )
        return {
            "regions": torch.from_numpy(pooled.astype(np.float16).astype(np.float32))[None],
            "region_mask": torch.ones(1, count, dtype=torch.bool),
            "labels": torch.from_numpy(np.ascontiguousarray(labels))[None],
        }
