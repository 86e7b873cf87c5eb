"""Mask logits from groups: of the group that a pixel belongs to, of its region, or of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from captionseg.modeling.group_encoder import Encoded
from captionseg.modeling.layers.grouping import compose, own_group
from captionseg.modeling.regions import paint_scores
from captionseg.modeling.zero_shot import class_scores, paint
from captionseg.records import Inputs


def read_out(encoded: Encoded, embed: Callable[[Tensor], Tensor], classes: Tensor, scale: Tensor, config: Any,
             inputs: Inputs) -> Tensor:  # fmt: skip
    """[B, C, height, width] of one window, see captionseg.modeling.zero_shot.

    Args:
        encoded: of a GroupEncoder.
        embed: vectors of the encoder -> the joint space, L2-normalised.
        classes: [C, W], L2-normalised.
        scale: 1 / tau of the caption loss.
        config: with the fields readout, score, top_k and maps of GroupViTConfig.
        inputs: what was encoded.
    """
    whole = embed(encoded.groups.mean(1))

    def scores(vectors: Tensor) -> Tensor:
        return class_scores(embed(vectors), whole, classes, scale, top_k=config.top_k, score=config.score)

    assignment, of_groups = compose(encoded.maps), scores(encoded.groups)
    if encoded.grid is not None:
        return paint(of_groups, assignment.unflatten(2, encoded.grid), inputs.size, maps=config.maps)
    if config.readout == "groups":
        return paint_scores(own_group(assignment, of_groups), inputs)
    of_regions = scores(encoded.members)
    both = config.readout == "both"
    return paint_scores(of_regions + own_group(assignment, of_groups) if both else of_regions, inputs)
