"""Sliding windows: large pictures piece by piece, overlaps averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from captionseg.inference.refine import RefineParams
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.typed import Count, Natural, build


@dataclass(frozen=True)
class WindowParams:
    """How models that read pixels see a whole picture; GroupViT's by default (448, 448, 224 for
    224).

    Attributes:
        short_side: of the picture in pixels; 0 takes twice the side of training pictures.
        crop: side of a window; 0 takes twice the side of training pictures.
        stride: from one window to the next; 0 takes half a window.
        batch: windows at once; nothing depends on it but memory.
    """

    short_side: Natural = 0
    crop: Natural = 0
    stride: Natural = 0
    batch: Count = 8

    def __post_init__(self) -> None:
        if min(self.short_side, self.crop, self.stride) < 0 or self.batch < 1:
            raise ValueError("windows: sizes must not be negative, and batch must be at least 1")
        if self.crop and self.stride > self.crop:
            raise ValueError(
                f"windows: a stride of {self.stride} leaves gaps between crops of {self.crop}"
            )


@dataclass(frozen=True)
class Protocol:
    """How a whole picture is labelled.

    Attributes:
        windows: for models that read pixels.
        refine: of mask logits, after any model; None takes what was saved with the model.
        masks: for models that read segments; None takes what was saved with the model.
        name: of PROTOCOLS, where prompts and scores of groups are a paper's too; empty for none.
    """

    windows: WindowParams = field(default_factory=WindowParams)
    refine: RefineParams | None = None
    masks: MasksParams | None = None
    name: str = ""

    def resolve(self, context: dict[str, Any]) -> ResolvedProtocol:
        """Windows, refinement and masks for a model that was saved with a context.

        Raises:
            UserError: for a context that says nothing sensible about them.
        """
        return ResolvedProtocol(
            self.windows,
            self.refine or build(RefineParams, context.get("refine"), "refine"),
            self.masks or build(MasksParams, context.get("masks"), "masks"),
        )


@dataclass(frozen=True)
class Background:
    """How pixels become background.

    Attributes:
        policy: none where it is no class; threshold of a model that knows one; constant, a class
            more with the same logit everywhere, for any other model; word, the class named
            background like any other.
        score: of the two in between.
    """

    policy: Literal["none", "threshold", "constant", "word"] = "none"
    score: float | None = None

    @property
    def is_prompted(self) -> bool:
        """Whether the first class of a benchmark is prompted like the others."""
        return self.policy in ("none", "word")


@dataclass(frozen=True)
class ResolvedProtocol:
    """How one model labels pictures: what was saved with it, what a paper's protocol says, and what
    was asked for, resolved once (captionseg.inference.protocols).

    Attributes:
        windows, refine, masks: see Protocol.
        prompts: template set of the classes' names.
        background: see Background.
        zero_shot: choices of inference, the threshold of `background` among them, see
            HasZeroShotChoices; None for a model that has none.
        paper: name of PROTOCOLS whose protocol this is; empty for none.
        skipped: what the paper's protocol asks for and the model cannot do, a line each.
    """

    windows: WindowParams = field(default_factory=WindowParams)
    refine: RefineParams = field(default_factory=RefineParams)
    masks: MasksParams = field(default_factory=MasksParams)
    prompts: str = "simple"
    background: Background = field(default_factory=Background)
    zero_shot: Any = None
    paper: str = ""
    skipped: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[Any, ...]:
        """The third argument of a model's `segment` and `label`, for a model that takes one."""
        return () if self.zero_shot is None else (self.zero_shot,)


def list_starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows begin along one side: every `stride`, the last one moved back inside; one where
    all fits.
    """
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(0, min(n * stride, length - crop)) for n in range(count)]


def slide_windows(
    image: Float[Tensor, "3 height width"],
    predict: Callable[[Tensor], Tensor],
    *,
    crop: int,
    stride: int,
    batch: int = 8,
) -> Float[Tensor, "class height width"]:
    """Mean of the predictions of all windows that cover a pixel.

    Args:
        image: a side shorter than `crop` is used as it is.
        predict: windows [B, 3, h, w] -> [B, C, h, w].
        crop: side of a window, in pixels.
        stride: from one window to the next, in pixels.
        batch: windows at once; the result does not depend on it.
    """
    height, width = image.shape[1:]
    h, w = min(crop, height), min(crop, width)
    corners = [
        (y, x) for y in list_starts(height, crop, stride) for x in list_starts(width, crop, stride)
    ]
    total: Tensor | None = None
    count = image.new_zeros(1, height, width)
    for first in range(0, len(corners), batch):
        part = corners[first : first + batch]
        predicted = predict(torch.stack([image[:, y : y + h, x : x + w] for y, x in part]))
        total = predicted.new_zeros(predicted.shape[1], height, width) if total is None else total
        for (y, x), scores in zip(part, predicted, strict=True):
            total[:, y : y + h, x : x + w] += scores
            count[:, y : y + h, x : x + w] += 1
    assert total is not None
    return total.div_(count)


def resize_short_side(
    image: Float[Tensor, "3 _height _width"], side: int, *, longest: int = 2048
) -> Float[Tensor, "3 _height _width"]:
    """Resized (bilinear) until its short side is `side`, or its long side `longest`, if that is
    smaller.
    """
    height, width = image.shape[1:]
    scale = min(longest / max(height, width), side / min(height, width))
    size = (int(height * scale + 0.5), int(width * scale + 0.5))
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
