"""Contrast of labels within a picture: a label that fits all of it gets less of it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def contrast_labels(
    logits: Float[Tensor, "class height width"], share: float
) -> Float[Tensor, "class height width"]:
    """Take a share of each label's mean over the picture from its scores.

    On pictures unlike those of training, some labels are a little likelier everywhere, for no
    reason that is in the picture, and flood it. Their mean over the picture is such an offset;
    where a label really covers much of the picture, it is more than that. So labels must be things
    that are in the picture: among many that are not, this harms (docs/log.md).

    Args:
        logits: scores of labels, cosines or of another kind.
        share: 0 leaves them as they are.
    """
    return logits - share * logits.mean((1, 2), keepdim=True) if share else logits
