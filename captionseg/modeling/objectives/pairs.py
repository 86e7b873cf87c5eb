"""Contrastive losses of regions and texts that come in pairs: TCL's image-level loss, Eq. 3.7 of
CoDe, Eq. 1 of USE.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captionseg.losses.contrastive import MultiLabel, contrastive, may_be_negative
from captionseg.modeling.segmenter import Gather
from captionseg.runtime.device import full_precision

Duplicates = Literal["plain", "unique", "mask"]
"""What equal texts of a batch are to each other, see `segment_contrast`."""


class Texts(NamedTuple):
    """The texts of a batch, L an image; fields [B, L, ..] of this rank, [W*B, L, ..] of all.

    Attributes:
        vectors: L2-normalised.
        concepts: what they name, -1 pads.
        valid: which of them are texts.
    """

    vectors: Float[Tensor, "B L D"]
    concepts: Int[Tensor, "B L K"]
    valid: Bool[Tensor, "B L"]


class Relations(NamedTuple):
    """Who belongs to whom: B images of this rank, T = W*B*L texts of all ranks.

    Attributes:
        own: is the text one of the image's?
        negative: may it be a negative of the image? Own texts are none.
        valid: which of them are texts.
    """

    own: Bool[Tensor, "B T"]
    negative: Bool[Tensor, "B T"]
    valid: Bool[Tensor, " T"]


def relations(
    every: Texts, archive: Int[Tensor, "B M"], rank: int, *, mask_negatives: bool
) -> Relations:
    """The relations of images with such archives to the texts of all ranks."""
    images, per = len(archive), every.valid.shape[1]
    valid = every.valid.flatten()
    owner = torch.arange(len(valid), device=valid.device) // per
    own = (owner == torch.arange(images, device=valid.device)[:, None] + rank * images) & valid
    allowed = (
        may_be_negative(archive, every.concepts.flatten(0, 1))
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
    """InfoNCE both ways of cosines of this rank's images with the texts of all; the same on
    every rank.

    An image's positives are its own texts, a text's the image that it belongs to.
    """
    logits, own, negative = gather(scale * cosine), gather(related.own), gather(related.negative)
    return 0.5 * (
        contrastive(logits, own, negative, form) + contrastive(logits.T, own.T, negative.T, form)
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
    """InfoNCE both ways of regions and texts, pair by pair; the same on every rank.

    The other texts of an image are negatives of a region too: it is the region of one of them.

    Args:
        regions: L2-normalised.
        texts: L2-normalised, of this rank.
        related: of the images.
        scale: 1 / tau.
        gather: of all ranks.
        rank: this one.
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
        contrastive(logits, positive, candidate) + contrastive(logits.T, positive.T, candidate.T)
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
    """InfoNCE both ways of k segments and the text drawn for each (Eq. 1 of USE).

    In a batch several segments may have drawn one text, or a text that names another of them too.
    `plain` is the equation as printed: all texts but its own are negatives of a segment. `unique`
    compares different texts, once each: those of a batch that name a segment are all its positives,
    and a text's all segments that it names, with the mean of the logs over several. `mask` keeps k
    pairs, and what names a segment is no negative of it.

    Args:
        segments: [k, D], L2-normalised.
        texts: [k, D], L2-normalised; equal ones where `number` is equal.
        number: [k] int, which text it is.
        known: [k, K] int, all texts that name the segment, -1 pads; the one drawn need not be among
            them.
        scale: 1 / tau.
        duplicates: see above.
    """
    own = torch.eye(len(number), dtype=torch.bool, device=number.device)
    named = number[:, None] == number
    for column in known.T:
        named = named | (column[:, None] == number)
    form: MultiLabel = "log_sum"
    if duplicates == "unique":
        first, _ = first_of_each(number)
        texts, form = texts[first], "soft_target"
        positive = named[:, first]
        candidate = torch.ones_like(positive)
    else:
        positive, candidate = own, torch.ones_like(own) if duplicates == "plain" else ~named
    with full_precision(segments):
        logits = scale * segments.float() @ texts.float().T
    return 0.5 * (
        contrastive(logits, positive, candidate, form)
        + contrastive(logits.T, positive.T, candidate.T, form)
    )


def first_of_each(numbers: Int[Tensor, " T"]) -> tuple[Int[Tensor, " U"], Int[Tensor, " T"]]:
    """Positions of the first of each different number, and which of them each is."""
    values, which = numbers.unique(return_inverse=True)
    order = torch.arange(len(which), device=which.device)
    return torch.full_like(values, len(which)).scatter_reduce(0, which, order, "amin"), which
