"""Pictures that share an entity agree about its mask (OVSegmentor, Eq. 10-12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from captionseg.losses.consistency import mask_consistency_loss
from captionseg.modeling.objectives.bags import count_per_rank
from captionseg.modeling.segmenter import Gather


@dataclass(frozen=True)
class CrossImage:
    """Inputs of Eq. 10-12 for G groups and N tokens, L2-normalised in the joint space.

    Attributes:
        tokens: tokens by the online encoder, the only ones with gradients.
        target_tokens: tokens by the momentum encoder.
        target_groups: groups by the momentum encoder.
        mask: False for padding of tokens.
        concept: entity that a partner must share; -1 for none.
        entity: embedding of the entity.
    """

    tokens: Float[Tensor, "B N W"]
    target_tokens: Float[Tensor, "B N W"]
    target_groups: Float[Tensor, "B G W"]
    mask: Bool[Tensor, "B N"]
    concept: Int[Tensor, " B"]
    entity: Float[Tensor, "B W"]


@dataclass(frozen=True)
class MaskAgreement:
    """Computes L_mask: the masks by a picture's own groups and by those of a partner should agree.

    The partner is another picture that shows the same entity.

    Attributes:
        ratio: share of the groups that are selected for the shared entity.
        threshold: see OVSegmentorConfig.
        relative: see OVSegmentorConfig.
        scale: factor of the cosines of tokens and groups before the sigmoid of Eq. 10.
        reduction: over pictures.
    """

    ratio: float
    threshold: float
    relative: bool
    scale: float
    reduction: Literal["mean", "sum"]

    def __call__(self, cross: CrossImage, gather: Gather, *, rank: int) -> Float[Tensor, ""]:
        """Compute Eq. 12 for the pictures of this rank.

        The partner of a picture is the next one with the same entity in the batch of all ranks, so
        that two pictures that share an entity are each other's partners.

        Args:
            cross: the pictures of this rank.
            gather: see Gather.
            rank: number of this rank.
        """
        concepts, groups = gather(cross.concept), gather(cross.target_groups)
        partner = find_partners(concepts)[rank * len(cross.concept) :][: len(cross.concept)]
        paired = partner >= 0
        ranks = len(concepts) / len(paired)
        count = count_per_rank(paired, gather) if self.reduction == "mean" else 1.0 / ranks
        most = max(1, int(self.ratio * groups.shape[1]))
        own_groups, partner_groups = (
            select_nearest_groups(g, cross.entity, most)
            for g in (cross.target_groups, groups[partner.clamp(min=0)])
        )
        mask = cross.mask & paired[:, None]
        target = torch.sigmoid(self.scale * own_groups @ cross.target_tokens.transpose(1, 2))
        predicted = torch.sigmoid(self.scale * partner_groups @ cross.tokens.transpose(1, 2))
        each = mask_consistency_loss(
            target, predicted, mask, threshold=self.threshold, relative=self.relative
        )
        return 0.5 * (each * paired).sum() / count


def find_partners(concepts: Int[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Find for each picture the next one, cyclically, with the same concept; -1 if there is none.

    Args:
        concepts: concept of each picture; -1 for none.
    """
    order = torch.argsort(concepts, stable=True)
    ordered = concepts[order]
    _, group, count = ordered.unique_consecutive(return_inverse=True, return_counts=True)
    first = count.cumsum(0) - count
    place = torch.arange(len(order), device=order.device) - first[group]
    following = order[first[group] + (place + 1) % count[group]]
    following = torch.where((ordered < 0) | (count[group] < 2), -1, following)
    return torch.empty_like(order).scatter_(0, order, following)


def select_nearest_groups(
    groups: Float[Tensor, "B G W"], entity: Float[Tensor, "B W"], count: int
) -> Float[Tensor, "B {count} W"]:
    """Select the groups that are most similar to an entity."""
    best = torch.einsum("bgw,bw->bg", groups, entity).topk(count, 1).indices
    return groups.gather(1, best[..., None].expand(-1, -1, groups.shape[2]))
