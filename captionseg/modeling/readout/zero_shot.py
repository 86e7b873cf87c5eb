"""From groups to pixels without a mask ever seen: GroupViT's zero-shot inference as released."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from captionseg.typed import Finite, Natural

Maps = Literal["soft", "hard"]
Score = Literal["cosine", "softmax", "product"]


@dataclass(frozen=True)
class ZeroShot:
    """The choices of inference with groups.

    Attributes:
        readout: pixels have the scores of their group, of their region (where tokens are regions),
            or their sum.
        score: product is that of two softmaxes as released, softmax the restricted one alone;
            cosine is that alone, and no class knows of the others.
        top_k: classes that the window as a whole keeps; 0 keeps all.
        maps: assignments as they are, or one-hot before they are interpolated.
        background: threshold below which a pixel is background; None knows no background.
    """

    readout: Literal["groups", "regions", "both"] = "both"
    score: Score = "cosine"
    top_k: Natural = 0
    maps: Maps = "soft"
    background: Finite | None = None


def class_scores(
    groups: Float[Tensor, "batch group embedding"],
    image: Float[Tensor, "batch embedding"],
    classes: Float[Tensor, "class embedding"],
    scale: Float[Tensor, ""],
    *,
    top_k: int = 5,
    score: Score = "product",
) -> Float[Tensor, "batch group class"]:
    """How well each class fits each group.

    P is the softmax over all classes. The image as a whole keeps its `top_k` classes; Q is the
    softmax over those. The score is P Q, 0 for every other class.

    Args:
        groups: L2-normalised.
        image: L2-normalised, the whole window.
        classes: L2-normalised.
        scale: 1 / tau of the caption loss.
        top_k: 0 keeps all classes.
        score: product is P Q, softmax Q alone; cosine is that alone, and no class knows of the
            others.
    """
    if score == "cosine":
        return groups @ classes.T
    logits = scale * groups @ classes.T
    restricted_logits = logits
    if top_k:
        # softmax keeps the order
        best = (image @ classes.T).topk(min(top_k, len(classes)), 1).indices
        outside = torch.ones(
            len(image), len(classes), dtype=torch.bool, device=logits.device
        ).scatter_(1, best, False)
        restricted_logits = logits.masked_fill(outside[:, None], -torch.inf)
    restricted = restricted_logits.softmax(2)
    return logits.softmax(2) * restricted if score == "product" else restricted


def nearest_group(
    assignment: Float[Tensor, "batch group h w"], size: tuple[int, int], *, maps: Maps = "soft"
) -> Int64[Tensor, "batch {size[0]} {size[1]}"]:
    """The group that each pixel belongs to most.

    Args:
        assignment: how much each cell belongs to each group; composed of all stages.
        size: (H, W); the assignment is interpolated to it before each pixel takes its largest
            group.
        maps: hard makes each cell one-hot before it is interpolated.
    """
    if maps == "hard":
        assignment = torch.zeros_like(assignment).scatter_(
            1, assignment.argmax(1, keepdim=True), 1.0
        )
    full = F.interpolate(assignment.float(), size, mode="bilinear", align_corners=False)
    return full.max(1).indices  # the same as argmax, which on the CPU takes eight times as long


def own_scores(
    scores: Float[Tensor, "batch group class"], group: Int64[Tensor, "batch height width"]
) -> Float[Tensor, "batch class height width"]:
    """Each pixel has the scores of its group."""
    index = group.flatten(1)[:, None].expand(-1, scores.shape[2], -1)
    return scores.transpose(1, 2).gather(2, index).unflatten(2, group.shape[1:])


def with_background(
    scores: Float[Tensor, "batch group C"], limit: Float[Tensor, " batch"]
) -> Float[Tensor, "batch group C+1"]:
    """A first class that is 1 where no other reaches the limit.

    Args:
        scores: of groups and C classes.
        limit: the threshold, but never above the best score of any group of the window, so
            that the surest group stays in the foreground.
    """
    background = (scores.amax(2) < limit[:, None]).to(scores.dtype)
    return torch.cat([background[..., None], scores], 2)
