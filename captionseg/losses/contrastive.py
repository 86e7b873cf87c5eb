"""One contrastive loss; Eq. 1-4 of CoCu are this function with different positives."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

MultiLabel = Literal["log_sum", "soft_target"]


def contrastive(
    logits: Float[Tensor, "query key"],
    positive: Bool[Tensor, "query key"],
    candidate: Bool[Tensor, "query key"],
    form: MultiLabel = "log_sum",
    *,
    count: Num[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """-1/Q sum_q log( sum_{k positive} exp(logits_qk) / sum_{k candidate} exp(logits_qk) ), in
    float32.

    Eq. 1, 2 and 4 have one positive a query. Eq. 3 has L: `log_sum` is the equation as printed (log
    of the summed positives, as in MIL-NCE); `soft_target` is the mean over positives of the logs,
    what GroupViT's code computes.

    Args:
        logits: similarities over temperature.
        positive: what belongs to a query.
        candidate: what stands in the denominator; positives always do.
        form: which of the two for several positives.
        count: Q, what the sum is divided by; None counts the queries with a positive. Where queries
            are spread over ranks it is the mean of that number over the ranks: then the mean of the
            losses is the loss of the whole.

    Returns:
        Queries without a positive do not count. 0, with gradient 0, when no query has one.
    """
    logits = logits.float()
    everything = logits.masked_fill(~(candidate | positive), -torch.inf)
    counted = positive.any(1)
    everything = everything[counted]
    log_denominator = torch.logsumexp(everything, 1)
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
    """Image q may have text k as a negative, because the text names a concept outside its archive.

    Args:
        archive: concepts that image q may show, -1 pads.
        concepts: concepts that text k names, -1 pads. A text that names none may always be a
            negative.
    """
    inside = (archive[:, None, None, :] == concepts[None, :, :, None]).any(-1)  # [Q, K, N]
    real = (concepts >= 0)[None]
    return (real & ~inside).any(-1) | ~real.any(-1)
