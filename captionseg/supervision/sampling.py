"""Which concepts of its archive an image learns from in one step; drawn anew each step (CoCu
§3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from captionseg.records import UserError


def draw(
    weight: Float[np.ndarray, "n M"],
    cluster: Int[np.ndarray, "n M"],
    count: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "n L"]:
    """Draw `count` concepts of every archive, with probability proportional to `weight`.

    Where an archive is clustered, one concept is drawn from each cluster; elsewhere `count` without
    replacement (Gumbel top-k: the largest of log weight + Gumbel noise are a weighted sample
    without replacement).

    Args:
        weight: unnormalised probabilities, 0 pads.
        cluster: numbers of clusters below `count`, -1 throughout a row that is not clustered.
        count: L.
        rng: the source of noise.

    Returns:
        Columns of the archive, -1 where there was nothing to draw.

    Raises:
        UserError: if there are more clusters than draws, so that the last clusters would never be
            learnt from.
    """
    if (clusters := int(cluster.max(initial=-1)) + 1) > count:
        raise UserError(
            f"archives have {clusters} clusters, but {count} concepts are drawn an image and step; "
            "set pretrain.texts and curate.sampled to no less than curate.RULE.clusters"
        )
    with np.errstate(divide="ignore"):
        # weights are of single precision; their logarithms, and so what is drawn, are not
        key = np.log(weight, dtype=np.float64) + rng.gumbel(size=weight.shape)
    clustered = (cluster >= 0).any(1)
    pad = max(0, count - weight.shape[1])
    top = np.argsort(-key, axis=1, kind="stable")[:, :count]
    top = np.where(np.isfinite(np.take_along_axis(key, top, 1)), top, -1)
    chosen = np.pad(top, ((0, 0), (0, pad)), constant_values=-1)
    for number in range(count):
        inside = np.where(cluster == number, key, -np.inf)
        best = np.where(np.isfinite(inside.max(1)), inside.argmax(1), -1)
        chosen[:, number] = np.where(clustered, best, chosen[:, number])
    return chosen


def start_at(seed: Sequence[int], row: int, width: int) -> np.random.Generator:
    """Make a source of noise for `draw` that begins at a row, of archives `width` concepts wide:
    the draws are those of one call with all rows.
    """
    source = np.random.PCG64(list(seed))
    source.advance(row * width)  # a number for each concept
    return np.random.Generator(source)
