"""Pictures that share an entity agree about its mask (OVSegmentor, Eq. 10-12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from captionseg.losses.consistency import mask_consistency
from captionseg.modeling.objectives.bags import mean_over_ranks
from captionseg.modeling.segmenter import Gather


@dataclass(frozen=True)
class CrossImage:
    """What Eq. 10-12 need; G groups, N tokens, all L2-normalised in the joint space.

    Attributes:
        tokens: of the online encoder, the only ones with a gradient.
        target_tokens: of the momentum encoder.
        target_groups: likewise.
        mask: which tokens are there.
        concept: the entity that a partner is sought for; -1 has none.
        entity: its embedding.
    """

    tokens: Float[Tensor, "B N W"]
    target_tokens: Float[Tensor, "B N W"]
    target_groups: Float[Tensor, "B G W"]
    mask: Bool[Tensor, "B N"]
    concept: Int[Tensor, " B"]
    entity: Float[Tensor, "B W"]


@dataclass(frozen=True)
class MaskAgreement:
    """L_mask: masks by a picture's own groups agree with masks by those of a partner.

    Attributes:
        ratio: share of the groups that are nearest to the shared entity.
        threshold: above which a mask is a target; with `relative` the share of each mask's maximum.
        relative: see threshold.
        scale: of the cosine of tokens and groups before the sigmoid of Eq. 10.
        reduction: over pictures.
    """

    ratio: float
    threshold: float
    relative: bool
    scale: float
    reduction: Literal["mean", "sum"]

    def __call__(self, cross: CrossImage, gather: Gather, *, rank: int) -> Float[Tensor, ""]:
        """Eq. 12: each picture with one that shares its entity, the next such in the batch of all
        ranks.

        Both directions of a pair are counted where two pictures share an entity, each in its own
        turn.
        """
        concepts, groups = gather(cross.concept), gather(cross.target_groups)
        partner = partners(concepts)[rank * len(cross.concept) :][: len(cross.concept)]
        paired = partner >= 0
        ranks = len(concepts) / len(paired)
        count = mean_over_ranks(paired, gather) if self.reduction == "mean" else 1.0 / ranks
        most = max(1, int(self.ratio * groups.shape[1]))
        own, other = (
            nearest(g, cross.entity, most)
            for g in (cross.target_groups, groups[partner.clamp(min=0)])
        )
        mask = cross.mask & paired[:, None]
        target = torch.sigmoid(self.scale * own @ cross.target_tokens.transpose(1, 2))
        predicted = torch.sigmoid(self.scale * other @ cross.tokens.transpose(1, 2))
        each = mask_consistency(
            target, predicted, mask, threshold=self.threshold, relative=self.relative
        )
        return 0.5 * (each * paired).sum() / count


def partners(concepts: Int[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """For each picture the next one, cyclically, whose concept is the same; -1 where
    there is none.

    Args:
        concepts: -1 for a picture without one.
    """
    order = torch.argsort(concepts, stable=True)
    ordered = concepts[order]
    _, group, count = ordered.unique_consecutive(return_inverse=True, return_counts=True)
    first = count.cumsum(0) - count
    place = torch.arange(len(order), device=order.device) - first[group]
    following = order[first[group] + (place + 1) % count[group]]
    following = torch.where((ordered < 0) | (count[group] < 2), -1, following)
    return torch.empty_like(order).scatter_(0, order, following)


def nearest(
    groups: Float[Tensor, "B G W"], entity: Float[Tensor, "B W"], count: int
) -> Float[Tensor, "B {count} W"]:
    """The groups that are nearest to an entity."""
    best = torch.einsum("bgw,bw->bg", groups, entity).topk(count, 1).indices
    return groups.gather(1, best[..., None].expand(-1, -1, groups.shape[2]))
