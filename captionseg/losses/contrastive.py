"""The contrastive loss (InfoNCE) of all models; Eq. 1-4 of CoCu differ only in the positives."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

MultiLabel = Literal["log_sum", "soft_target"]


def contrastive_loss(
    logits: Float[Tensor, "query key"],
    positive: Bool[Tensor, "query key"],
    candidate: Bool[Tensor, "query key"],
    form: MultiLabel = "log_sum",
    *,
    count: Num[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """-1/Q sum_q log(sum_{k positive} exp(logits_qk) / sum_{k candidate} exp(logits_qk)), in
    float32.

    In Eq. 1, 2 and 4 of CoCu each query has one positive key. In Eq. 3 it has L: `log_sum` is the
    equation as printed (the log of the summed positives, as in MIL-NCE); `soft_target` is the mean
    of the logs over positives, as in GroupViT's code.

    Args:
        logits: similarities divided by the temperature.
        positive: which keys belong to a query.
        candidate: which keys are in the denominator; positives always are.
        form: how several positives are combined.
        count: Q, the divisor of the sum; None counts the queries with a positive. If the queries
            are spread over ranks, it is the mean of their counts, so that the mean of the losses
            over ranks is the loss of all queries.

    Returns:
        the loss. Queries without a positive do not count; if none has one, the loss and its
        gradient are 0.
    """
    logits = logits.float()
    counted = positive.any(1)
    in_denominator = logits.masked_fill(~(candidate | positive), -torch.inf)[counted]
    log_denominator = torch.logsumexp(in_denominator, 1)
    chosen = positive[counted]
    if form == "log_sum":
        log_numerator = torch.logsumexp(logits[counted].masked_fill(~chosen, -torch.inf), 1)
    else:
        log_numerator = torch.where(chosen, logits[counted], 0.0).sum(1) / chosen.sum(1)
    total = (log_denominator - log_numerator).sum()
    return total / (counted.sum().clamp(min=1) if count is None else count)


def may_be_negative(
    archive: Int[Tensor, "query held"], concepts: Int[Tensor, "key named"]
) -> Bool[Tensor, "query key"]:
    """Whether text k may be a negative of image q: it names a concept outside the image's archive.

    Memory is that of [query, concepts that the texts name] and of a few results, all bool.

    Args:
        archive: concepts that image q may show; -1 pads.
        concepts: concepts that text k names; -1 pads. A text that names none may always be a
            negative.
    """
    real = concepts >= 0
    named = concepts[real].unique()
    absent = mark_absent(archive, named)
    # padding takes the last row, which is False for every image
    row = torch.where(real, torch.searchsorted(named, concepts.contiguous()), len(named))
    allowed = (~real).all(1)[:, None].repeat(1, len(archive))
    for position in row.unbind(1):
        allowed |= absent[position]
    return allowed.T.contiguous()


def mark_absent(
    archive: Int[Tensor, "query held"], named: Int[Tensor, " concept"]
) -> Bool[Tensor, "rows query"]:
    """Mark which images' archives do not hold a concept; in a last row none.

    Args:
        archive: concepts of each image, -1 pads.
        named: different concepts in ascending order.
    """
    absent = torch.ones(len(named) + 1, len(archive), dtype=torch.bool, device=archive.device)
    absent[-1] = False
    if len(named):
        place = torch.searchsorted(named, archive.contiguous()).clamp(max=len(named) - 1)
        # what no text names goes to the last row, which is False anyway
        row = torch.where(named[place] == archive, place, len(named))
        absent.scatter_(0, row.T, False)
    return absent
