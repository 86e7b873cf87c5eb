"""GroupViT's zero-shot inference, as released: scores of classes for groups, and for pixels."""

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
    """Options of inference with groups.

    Attributes:
        readout: whether pixels have the scores of their group, of their region (if tokens are
            regions), or the sum of both.
        score: see `score_classes`.
        top_k: number of classes kept per window, see `score_classes`; 0 keeps all.
        maps: soft composes the assignments of all stages as they are, as released; hard composes
            one-hot assignments, as in the paper, and interpolates the one-hot result.
        background: score below which a pixel is background, of the scale of `score`; None means no
            background.
    """

    readout: Literal["groups", "regions", "both"] = "both"
    score: Score = "cosine"
    top_k: Natural = 0
    maps: Maps = "soft"
    background: Finite | None = None

    def bounds(self, *, summed: bool) -> tuple[float, float]:
        """Return the least and the greatest possible score; `summed` if it is the sum of two."""
        most = 2.0 if summed else 1.0
        return (-most if self.score == "cosine" else 0.0), most


def score_classes(
    groups: Float[Tensor, "batch group embedding"],
    image: Float[Tensor, "batch embedding"],
    classes: Float[Tensor, "class embedding"],
    scale: Float[Tensor, ""],
    *,
    top_k: int = 5,
    score: Score = "product",
) -> Float[Tensor, "batch group class"]:
    """Score classes for groups.

    P is the softmax over all classes. Q is the softmax over the `top_k` classes that are most
    similar to the whole image, and 0 for all other classes. The released score is P Q.

    Args:
        groups: L2-normalised embeddings of groups.
        image: L2-normalised embedding of the whole window.
        classes: L2-normalised embeddings of classes.
        scale: 1 / tau of the caption loss.
        top_k: 0 keeps all classes.
        score: product is P Q, softmax is Q; cosine is the cosine of group and class.
    """
    if score == "cosine":
        return groups @ classes.T
    logits = scale * groups @ classes.T
    restricted_logits = logits
    if top_k:
        # by cosine, because the softmax keeps the order
        # sizes by shape, which stays variable in an exported graph, as len does not
        count = classes.shape[0]
        best = (image @ classes.T).topk(min(top_k, count), 1).indices
        outside = torch.ones(
            image.shape[0], count, dtype=torch.bool, device=logits.device
        ).scatter_(1, best, False)
        restricted_logits = logits.masked_fill(outside[:, None], -torch.inf)
    restricted = restricted_logits.softmax(2)
    return logits.softmax(2) * restricted if score == "product" else restricted


def assign_pixels(
    assignment: Float[Tensor, "batch group h w"], size: tuple[int, int]
) -> Int64[Tensor, "batch {size[0]} {size[1]}"]:
    """Return the group that each pixel belongs to most.

    Args:
        assignment: assignment of cells to groups, composed over all stages.
        size: (H, W) in pixels, to which assignments are interpolated.
    """
    full = F.interpolate(assignment.float(), size, mode="bilinear", align_corners=False)
    return full.max(1).indices  # the same as argmax, which on the CPU takes eight times as long


def paint_groups(
    scores: Float[Tensor, "batch group class"], group: Int64[Tensor, "batch height width"]
) -> Float[Tensor, "batch class height width"]:
    """Return the scores of pixels: each has those of its group."""
    index = group.flatten(1)[:, None].expand(-1, scores.shape[2], -1)
    return scores.transpose(1, 2).gather(2, index).unflatten(2, group.shape[1:])


def add_background(
    scores: Float[Tensor, "batch group C"],
    limit: Float[Tensor, " batch"],
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Float[Tensor, "batch group C+1"]:
    """Add a first class, the background, which is the best where no other class reaches the limit.

    There it has the greatest possible score, elsewhere the least: 1 and 0 for the released scores.

    Args:
        scores: scores of groups for C classes.
        limit: threshold, at most the best score in the window, so that at least one group is
            foreground.
        bounds: least and greatest possible score, see ZeroShot.
    """
    least, greatest = bounds
    below = scores.amax(2) < limit[:, None]
    background = torch.where(below, greatest, least).to(scores.dtype)
    return torch.cat([background[..., None], scores], 2)
