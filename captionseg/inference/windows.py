"""Sliding windows over large pictures, and the protocol by which a picture is labelled."""

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
from captionseg.typed import Count, Natural, Share, build


@dataclass(frozen=True)
class WindowParams:
    """Windows of models that read pixels, all in pixels.

    The defaults are GroupViT's: 448, 448, 224 for training pictures of 224 pixels.

    Attributes:
        short_side: short side of the resized picture; 0 takes twice the side of training pictures.
        crop: side of a window; 0 takes twice the side of training pictures.
        stride: distance between windows; 0 takes half a window.
        batch: number of windows at once; it only affects memory and speed.
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
    """How pictures are labelled, as requested.

    Attributes:
        windows: windows, for models that read pixels.
        refine: refinement of mask logits; None takes that saved with the model.
        masks: segments, for models that read segments; None takes those saved with the model.
        contrast: share of each label's mean over the picture that is taken from its scores; for
            labels that are all in the picture, see captionseg.inference.contrast.
        name: key of PROTOCOLS, for the prompts and scores of a paper; empty for none.
    """

    windows: WindowParams = field(default_factory=WindowParams)
    refine: RefineParams | None = None
    masks: MasksParams | None = None
    contrast: Share = 0.0
    name: str = ""

    def resolve(self, context: dict[str, Any]) -> ResolvedProtocol:
        """Resolve windows, refinement and masks for a model with a saved context.

        Raises:
            UserError: for an invalid context.
        """
        return ResolvedProtocol(
            self.windows,
            self.refine or build(RefineParams, context.get("refine"), "refine"),
            self.masks or build(MasksParams, context.get("masks"), "masks"),
            contrast=self.contrast,
        )


@dataclass(frozen=True)
class Background:
    """How pixels become background.

    Attributes:
        policy: none: the background is no class; threshold: pixels below the model's own
            threshold; constant: an additional class with a constant logit, for models without a
            threshold; word: the class named background is prompted like any other.
        score: threshold, or constant logit; None for the other policies.
    """

    policy: Literal["none", "threshold", "constant", "word"] = "none"
    score: float | None = None

    @property
    def is_prompted(self) -> bool:
        """Whether the first class of a benchmark is prompted like the others."""
        return self.policy in ("none", "word")


@dataclass(frozen=True)
class ResolvedProtocol:
    """How a model labels pictures, resolved from its saved context, a paper's protocol and the
    requested options (captionseg.inference.protocols).

    Attributes:
        windows: see Protocol.
        refine: see Protocol.
        masks: see Protocol.
        contrast: see Protocol.
        prompts: template set for class names.
        background: see Background.
        zero_shot: options of inference, with the threshold of `background`, see
            HasZeroShotChoices; None for a model without options.
        paper: key of PROTOCOLS; empty for none.
        skipped: parts of the paper's protocol that the model does not support, a line each.
    """

    windows: WindowParams = field(default_factory=WindowParams)
    refine: RefineParams = field(default_factory=RefineParams)
    masks: MasksParams = field(default_factory=MasksParams)
    contrast: float = 0.0
    prompts: str = "simple"
    background: Background = field(default_factory=Background)
    zero_shot: Any = None
    paper: str = ""
    skipped: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[Any, ...]:
        """The third argument of a model's `segment` and `label`, if it has one."""
        return () if self.zero_shot is None else (self.zero_shot,)


def list_starts(length: int, crop: int, stride: int) -> list[int]:
    """Return the starts of windows along a side of `length` pixels.

    They are multiples of `stride`, except that the last window ends at the border.
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
    """Average the predictions of all windows at each pixel.

    Args:
        image: picture; a side shorter than `crop` is covered by one window.
        predict: windows [B, 3, h, w] -> predictions [B, C, h, w].
        crop: side of a window in pixels.
        stride: distance between windows in pixels.
        batch: number of windows at once; the result does not depend on it.
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
    """Resize a picture (bilinear) to a short side of `side`, or a long side of `longest` if that is
    smaller; both in pixels.
    """
    height, width = image.shape[1:]
    scale = min(longest / max(height, width), side / min(height, width))
    size = (int(height * scale + 0.5), int(width * scale + 0.5))
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
