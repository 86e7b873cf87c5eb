"""Prepares model inputs from pictures alone, exactly as the stages do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from captionseg.encoders.encoder import Encoder
from captionseg.model_inputs import Inputs
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import normalise_image, pixel_inputs, stack_masks, without_regions
from captionseg.segmenters.interfaces import MaskMaker, RegionMaker
from captionseg.segmenters.pooling import pool_regions


def needs_regions(reads: InputSpec, refine: str, masks: bool) -> bool:
    """Return whether a model, or the refinement of its masks, needs region labels.

    Args:
        reads: what the model reads.
        refine: method of RefineParams.
        masks: whether masks replace regions.
    """
    return (reads.labels and not masks) or refine == "segments"


def needs_pixels(reads: InputSpec, refine: str) -> bool:
    """Return whether a model, or the refinement of its masks, needs pixels."""
    return bool(reads.picture) or refine == "pamr"


def build_preparation(
    reads: InputSpec,
    refine: str,
    masks: MaskMaker | None,
    *,
    encoder: Callable[[], Encoder] | None,
    maker: RegionMaker | None,
) -> Preparation:
    """Build the function from a picture to the inputs of a model and its refinement.

    Args:
        reads: what the model reads.
        refine: method of RefineParams.
        masks: makes masks that replace regions.
        encoder: returns the frozen encoder; only called if the model needs it.
        maker: makes regions; required if they are needed.
    """
    frozen = encoder() if encoder is not None and reads.encoder else None
    regions = needs_regions(reads, refine, masks is not None)
    return Preparation(
        reads, frozen, maker if regions else None, needs_pixels(reads, refine), masks
    )


@dataclass(frozen=True)
class Preparation:
    """Converts a picture to inputs, exactly as the stages do.

    Attributes:
        reads: what the model reads.
        encoder: encoder of the features; None if the model needs none.
        maker: makes regions; None if none are needed.
        pixels: whether pixels are needed.
        masks: makes masks that replace regions, if any.
    """

    reads: InputSpec
    encoder: Encoder | None
    maker: RegionMaker | None
    pixels: bool
    masks: MaskMaker | None = None

    def __call__(self, image: np.ndarray) -> Inputs:
        """Return the inputs of a picture uint8 [H, W, 3]."""
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
        # fp16, as stored for training
        dense = self.encoder.features([image]).dense[0].astype(np.float16)
        return replace(
            inputs,
            dense=torch.from_numpy(dense.astype(np.float32))[None],
            **self.regions(image, dense),
        )

    def regions(self, image: np.ndarray, dense: np.ndarray | None) -> dict[str, torch.Tensor]:
        """Return fields of Inputs for regions: labels, mask and features.

        Args:
            image: uint8 [H, W, 3].
            dense: [gh, gw, F] dense features; None if the model reads none.
        """
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
