"""Contrastive losses of pairs of regions and texts: TCL's losses, Eq. 3.7 of CoDe, Eq. 1 of USE."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from captionseg.losses.contrastive import MultiLabel, contrastive_loss, may_be_negative
from captionseg.modeling.segmenter import Gather
from captionseg.runtime.device import full_precision

Duplicates = Literal["plain", "unique", "mask"]
"""How equal texts of a batch are treated, see `segment_contrast`."""


class Texts(NamedTuple):
    """L texts for each of B images of this rank, or of W*B images of all W ranks.

    Attributes:
        vectors: L2-normalised embeddings.
        concepts: concepts that a text names, -1 pads.
        valid: False pads.
    """

    vectors: Float[Tensor, "B L D"]
    concepts: Int[Tensor, "B L K"]
    valid: Bool[Tensor, "B L"]


class Relations(NamedTuple):
    """Relations of the B images of this rank and the T = W*B*L texts of all ranks.

    Attributes:
        own: whether a text belongs to an image.
        negative: whether it is a negative of an image.
        valid: False for padding.
    """

    own: Bool[Tensor, "B T"]
    negative: Bool[Tensor, "B T"]
    valid: Bool[Tensor, " T"]


def relate_texts(
    texts: Texts, archive: Int[Tensor, "B M"], rank: int, *, mask_negatives: bool
) -> Relations:
    """Relate the images of this rank to the texts of all ranks.

    Args:
        texts: texts of all ranks.
        archive: concepts that each image of this rank may show, -1 pads.
        rank: number of this rank.
        mask_negatives: see SegmentMilConfig.
    """
    images, per = len(archive), texts.valid.shape[1]
    valid = texts.valid.flatten()
    owner = torch.arange(len(valid), device=valid.device) // per
    own = (owner == torch.arange(images, device=valid.device)[:, None] + rank * images) & valid
    allowed = (
        may_be_negative(archive, texts.concepts.flatten(0, 1))
        if mask_negatives
        else torch.ones_like(own)
    )
    return Relations(own, allowed & ~own & valid, valid)


def image_contrast(
    cosine: Float[Tensor, "B T"],
    related: Relations,
    scale: Float[Tensor, ""],
    gather: Gather,
    form: MultiLabel = "log_sum",
) -> Float[Tensor, ""]:
    """InfoNCE in both directions between images and texts of all ranks; equal on all ranks.

    The positives of an image are its own texts; the positive of a text is its image.

    Args:
        cosine: cosines of the images of this rank and the texts of all ranks.
        related: their relations.
        scale: 1 / tau.
        gather: see Gather.
        form: how several positives are combined, see `contrastive_loss`.
    """
    logits, own, negative = gather(scale * cosine), gather(related.own), gather(related.negative)
    return 0.5 * (
        contrastive_loss(logits, own, negative, form)
        + contrastive_loss(logits.T, own.T, negative.T, form)
    )


def pair_contrast(
    regions: Float[Tensor, "B L D"],
    texts: Float[Tensor, "B L D"],
    related: Relations,
    scale: Float[Tensor, ""],
    gather: Gather,
    *,
    rank: int,
) -> Float[Tensor, ""]:
    """InfoNCE in both directions between the regions and texts of all ranks; equal on all ranks.

    The positive of a region is its text. The other texts of its image are negatives.

    Args:
        regions: L2-normalised embeddings of regions of this rank.
        texts: L2-normalised embeddings of their texts.
        related: relations of images and texts.
        scale: 1 / tau.
        gather: see Gather.
        rank: number of this rank.
    """
    images, per = texts.shape[:2]
    with full_precision(regions):
        cosine = regions.flatten(0, 1).float() @ gather(texts).flatten(0, 1).float().T  # [B L, T]
    number = torch.arange(images * per, device=cosine.device)
    positive = number[:, None] + rank * images * per == torch.arange(
        cosine.shape[1], device=cosine.device
    )
    positive = positive & related.valid
    rows = (related.own | related.negative).repeat_interleave(per, 0) & positive.any(
        1, keepdim=True
    )
    logits, positive, candidate = gather(scale * cosine), gather(positive), gather(rows)
    return 0.5 * (
        contrastive_loss(logits, positive, candidate)
        + contrastive_loss(logits.T, positive.T, candidate.T)
    )


def segment_contrast(
    segments: Tensor,
    texts: Tensor,
    number: Tensor,
    known: Tensor,
    *,
    scale: float,
    duplicates: Duplicates = "unique",
) -> Tensor:
    """InfoNCE in both directions between k segments and the text drawn for each (Eq. 1 of USE).

    In a batch, several segments may have the same text, and a text may name other segments too.
    `plain` is the equation as printed: all texts but its own are negatives of a segment. `unique`
    compares each different text once: all texts that name a segment are its positives, and all
    segments that a text names are positives of the text, with the mean of the logs over several.
    `mask` keeps k pairs, and excludes other texts that name a segment from its negatives.

    Args:
        segments: [k, D], L2-normalised.
        texts: [k, D], L2-normalised; equal if their `number` is.
        number: [k] int, number of each text.
        known: [k, K] int, numbers of all texts that name the segment, -1 pads.
        scale: 1 / tau.
        duplicates: see above.
    """
    own = torch.eye(len(number), dtype=torch.bool, device=number.device)
    named = number[:, None] == number
    for column in known.T:
        named = named | (column[:, None] == number)
    form: MultiLabel = "log_sum"
    if duplicates == "unique":
        first, _ = find_unique(number)
        texts, form = texts[first], "soft_target"
        positive = named[:, first]
        candidate = torch.ones_like(positive)
    else:
        positive, candidate = own, torch.ones_like(own) if duplicates == "plain" else ~named
    with full_precision(segments):
        logits = scale * segments.float() @ texts.float().T
    return 0.5 * (
        contrastive_loss(logits, positive, candidate, form)
        + contrastive_loss(logits.T, positive.T, candidate.T, form)
    )


def find_unique(numbers: Int[Tensor, " T"]) -> tuple[Int[Tensor, " U"], Int[Tensor, " T"]]:
    """Return the first positions of the different numbers, and which of them each number is."""
    values, which = numbers.unique(return_inverse=True)
    order = torch.arange(len(which), device=which.device)
    return torch.full_like(values, len(which)).scatter_reduce(0, which, order, "amin"), which


def pooled_similarity(
    masks: Float[Tensor, "B U h w"], features: Float[Tensor, "B D h w"], texts: Float[Tensor, "U D"]
) -> Float[Tensor, "B U"]:
    """Return the cosine of each text with the mean of the features under its mask."""
    with full_precision(features):
        weights = masks.flatten(2) / masks.flatten(2).sum(2, keepdim=True).clamp(min=1e-6)
        # [B, U, D]
        vectors = F.normalize(weights @ features.flatten(2).transpose(1, 2), dim=-1, eps=1e-6)
        return (vectors * texts).sum(2)


def inverse_temperature(log_scale: Tensor) -> Tensor:
    """Return 1 / tau, at most 100, from its learnt logarithm, a scalar."""
    return log_scale.exp().clamp(max=100.0)
