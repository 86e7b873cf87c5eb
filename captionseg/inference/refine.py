"""Refines the mask logits of any model, along the edges of the picture or by its regions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from annotated_types import MinLen
from torch import Tensor
from torch.nn import functional as F

from captionseg.inference.pamr import DILATIONS, pamr
from captionseg.modeling.readout.regions import full_size
from captionseg.records import Inputs, UserError
from captionseg.typed import Count, Natural


@dataclass(frozen=True)
class RefineParams:
    """Refinement of mask logits before each pixel takes its best class.

    Attributes:
        method: none; pamr (CoCu's local consistency, and the last step of TCL and CoDe); segments
            averages the logits of each class over each class-agnostic region.
        side: number of cells along the short side of PAMR's grid; in TCL a quarter of the window.
        iterations, dilations: parameters of PAMR.
    """

    method: Literal["none", "pamr", "segments"] = "none"
    side: Count = 112
    iterations: Natural = 10
    dilations: Annotated[list[Count], MinLen(1)] = field(default_factory=lambda: list(DILATIONS))

    def __post_init__(self) -> None:
        if self.side < 1 or self.iterations < 0 or not self.dilations or min(self.dilations) < 1:
            raise ValueError("refine: side and dilations must be at least 1, iterations at least 0")


def refine_logits(logits: Tensor, inputs: Inputs, params: RefineParams) -> Tensor:
    """Refine the logits [C, H, W] of one picture.

    Raises:
        UserError: if `inputs` lack what the method needs.
    """
    if params.method == "none":
        return logits
    if params.method == "segments":
        return average_regions(logits, inputs)
    if inputs.image is None:
        raise UserError(
            "refine: pamr needs pixels, but these inputs have none; a bug of the caller"
        )
    height, width = logits.shape[1:]
    scale = params.side / min(height, width)
    grid = (max(1, round(height * scale)), max(1, round(width * scale)))
    coarse = F.interpolate(logits[None].float(), grid, mode="bilinear", align_corners=False)[0]
    out = pamr(inputs.image[0], coarse, iterations=params.iterations, dilations=params.dilations)
    return F.interpolate(out[None], (height, width), mode="bilinear", align_corners=False)[0]


def average_regions(logits: Tensor, inputs: Inputs) -> Tensor:
    """Average logits [C, H, W] over the region of each pixel."""
    if not inputs.region_mask.shape[1]:
        raise UserError(
            "refine: segments needs regions, but these inputs have none; a bug of the caller"
        )
    region = full_size(inputs)[0].flatten()
    flat, count = logits.float().flatten(1), torch.bincount(region).clamp(min=1)
    total = flat.new_zeros(len(flat), len(count)).index_add_(1, region, flat)
    return (total / count)[:, region].view_as(logits)
