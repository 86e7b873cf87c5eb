"""Pictures that share an entity agree about its mask (OVSegmentor, Eq. 10-12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor
from torch.nn import functional as F

from captionseg.losses.consistency import (
    group_consistency_loss,
    mask_consistency_loss,
    released_mask_loss,
)
from captionseg.modeling.objectives.bags import count_per_rank
from captionseg.modeling.segmenter import Gather
from captionseg.runtime.device import full_precision

Masks = Literal["joint", "binding"]
Agreement = Literal["masks", "groups"]


@dataclass(frozen=True)
class CrossImage:
    """Inputs of Eq. 10-12 for G groups and N tokens, L2-normalised in the joint space.

    Attributes:
        tokens: tokens by the online encoder.
        groups: groups by the online encoder.
        target_tokens: tokens by the momentum encoder.
        target_groups: groups by the momentum encoder.
        mask: False for padding of tokens.
        concept: entity that a partner must share; -1 for none.
        entity: embedding of the entity.
    """

    tokens: Float[Tensor, "B N W"]
    groups: Float[Tensor, "B G W"]
    target_tokens: Float[Tensor, "B N W"]
    target_groups: Float[Tensor, "B G W"]
    mask: Bool[Tensor, "B N"]
    concept: Int[Tensor, " B"]
    entity: Float[Tensor, "B W"]


@dataclass(frozen=True)
class CrossBinding:
    """Inputs of the released mask loss: queries of G groups and keys of N tokens of the binding.

    Attributes:
        queries: queries by the online encoder.
        target_queries: queries by the momentum encoder.
        target_keys: keys by the momentum encoder.
        similarity: of each group, projected and not normalised, and the entity.
        mask: False for padding of tokens.
        concept: entity that a partner must share; -1 for none.
        grid: (rows, columns) of the tokens; None for regions.
        side: side of a cell of the grid in pixels.
    """

    queries: Float[Tensor, "B G C"]
    target_queries: Float[Tensor, "B G C"]
    target_keys: Float[Tensor, "B N C"]
    similarity: Float[Tensor, "B G"]
    mask: Bool[Tensor, "B N"]
    concept: Int[Tensor, " B"]
    grid: tuple[int, int] | None
    side: int


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
        of: what agrees: masks, or the groups themselves (Table 6).
        temperature: of the contrast of groups.
    """

    ratio: float
    threshold: float
    relative: bool
    scale: float
    reduction: Literal["mean", "sum"]
    of: Agreement = "masks"
    temperature: float = 0.07

    def __call__(
        self, cross: CrossImage | CrossBinding, gather: Gather, *, rank: int
    ) -> Float[Tensor, ""]:
        """Compute Eq. 12 for the pictures of this rank.

        The partner of a picture is the next one with the same entity in the batch of all ranks, so
        that two pictures that share an entity are each other's partners. The equation is the mean
        of the losses of both.

        Args:
            cross: the pictures of this rank.
            gather: see Gather.
            rank: number of this rank.
        """
        concepts = gather(cross.concept)
        partner = find_partners(concepts)[rank * len(cross.concept) :][: len(cross.concept)]
        paired = partner >= 0
        ranks = len(concepts) / len(paired)
        count = count_per_rank(paired, gather) if self.reduction == "mean" else 1.0 / ranks
        mask, partner = cross.mask & paired[:, None], partner.clamp(min=0)
        compare = self.compare_masks if isinstance(cross, CrossImage) else self.compare_bindings
        with full_precision(cross.mask):
            if self.of == "groups" and isinstance(cross, CrossImage):
                each = self.compare_groups(cross, partner, gather, rank=rank)
            else:
                each = compare(cross, partner, mask, gather)  # type: ignore[arg-type]
        return (each * paired).sum() / count

    def compare_masks(
        self, cross: CrossImage, partner: Tensor, mask: Tensor, gather: Gather
    ) -> Float[Tensor, " B"]:
        """Compare masks in the joint space.

        Targets are by the momentum encoder alone. Predictions are by the online encoder alone,
        Eq. 10 with the groups of the partner, so that they teach the binding and all blocks.

        Args:
            cross: the pictures of this rank.
            partner: [B] number of the partner over all ranks.
            mask: [B, N], False for tokens that do not count.
            gather: see Gather.
        """
        most = self.count_selected(cross.groups.shape[1])
        own_groups, partner_groups = (
            select_nearest_groups(groups.float(), cross.entity.float(), most)
            for groups in (cross.target_groups, gather(cross.groups)[partner])
        )
        own, online = cross.target_tokens.float(), cross.tokens.float()
        return mask_consistency_loss(
            torch.sigmoid(self.scale * own_groups @ own.transpose(1, 2)),
            torch.sigmoid(self.scale * partner_groups @ online.transpose(1, 2)),
            mask,
            threshold=self.threshold,
            relative=self.relative,
        )

    def compare_bindings(
        self, cross: CrossBinding, partner: Tensor, mask: Tensor, gather: Gather
    ) -> Float[Tensor, " B"]:
        """Compare masks of the binding as the released code does; arguments as of compare_masks.

        The queries of the partner are the only ones with gradients. Those of groups that are far
        from the entity are compared without.
        """
        queries, similarity = gather(cross.queries)[partner], gather(cross.similarity)[partner]
        near = similarity.topk(self.count_selected(queries.shape[1]), 1).indices
        is_near = torch.zeros_like(similarity, dtype=torch.bool).scatter_(1, near, True)
        queries = torch.where(is_near[..., None], queries, queries.detach())
        keys = cross.target_keys.transpose(1, 2) * queries.shape[2] ** -0.5
        target, predicted = cross.target_queries @ keys, queries @ keys
        if cross.grid is not None:
            target, predicted = (
                enlarge(logits, cross.grid, cross.side) for logits in (target, predicted)
            )
            mask = mask[:, :1].expand(-1, target.shape[2])
        return released_mask_loss(
            target, predicted, mask, threshold=self.threshold, relative=self.relative
        )

    def compare_groups(
        self, cross: CrossImage, partner: Tensor, gather: Gather, *, rank: int
    ) -> Float[Tensor, " B"]:
        """Compare groups of the online encoder with those of the partner by the momentum encoder,
        against all other groups of the batch (Table 6).

        Args:
            cross: the pictures of this rank.
            partner: [B] number of the partner over all ranks.
            gather: see Gather.
            rank: number of this rank.
        """
        most, every = self.count_selected(cross.groups.shape[1]), gather(cross.target_groups)
        entity = cross.entity.float()
        own = torch.arange(len(partner), device=partner.device) + rank * len(partner)
        return group_consistency_loss(
            select_nearest_groups(cross.groups.float(), entity, most),
            select_nearest_groups(every[partner].float(), entity, most),
            every.float(),
            own,
            temperature=self.temperature,
        )

    def count_selected(self, groups: int) -> int:
        """Return the number of groups that are selected."""
        return max(1, int(self.ratio * groups))


def enlarge(
    logits: Float[Tensor, "B G N"], grid: tuple[int, int], side: int
) -> Float[Tensor, "B G pixels"]:
    """Interpolate maps over a grid to pixels; `side` is that of a cell."""
    size = (grid[0] * side, grid[1] * side)
    return F.interpolate(
        logits.unflatten(2, grid), size, mode="bilinear", align_corners=True
    ).flatten(2)


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
