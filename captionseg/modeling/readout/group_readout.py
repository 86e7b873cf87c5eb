"""Mask logits from groups: of the group that a pixel belongs to, of its region, or of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from captionseg.model_inputs import Inputs
from captionseg.modeling.layers.grouping import compose, own_group
from captionseg.modeling.objectives.bags import bag_similarity
from captionseg.modeling.readout.regions import paint_labels, paint_scores
from captionseg.modeling.readout.zero_shot import (
    ZeroShot,
    class_scores,
    nearest_group,
    own_scores,
    with_background,
)
from captionseg.modeling.towers.dual_encoder import Pool, Towers, pool_groups
from captionseg.modeling.towers.group_encoder import GroupEncoder, GroupEncoding


class GroupScores(NamedTuple):
    """Scores of classes, before anything is painted.

    Attributes:
        scores: of groups, or of regions where `assignment` is None.
        assignment: how much each cell of a grid belongs to each group.
        limit: the score that a class needs to stand before the background; None where there is
            none.
    """

    scores: Float[Tensor, "batch group class"]
    assignment: Float[Tensor, "batch group h w"] | None
    limit: Float[Tensor, " batch"] | None


def score_groups(
    vision: GroupEncoder,
    encoded: GroupEncoding,
    embed: Callable[[Tensor], Tensor],
    classes: Float[Tensor, "class embedding"],
    scale: Float[Tensor, ""],
    choices: ZeroShot,
    *,
    mask: Bool[Tensor, "batch region"],
) -> GroupScores:
    """Which class fits each group or region of one window, see `readout.zero_shot`.

    Args:
        vision: what `encoded` comes from.
        encoded: one window a row.
        embed: vectors of the encoder -> the joint space, L2-normalised.
        classes: L2-normalised.
        scale: 1 / tau of the caption loss.
        choices: of the inference.
        mask: which regions are there.
    """
    whole = embed(encoded.groups.mean(1))

    def scores(vectors: Tensor) -> Tensor:
        return class_scores(
            embed(vectors), whole, classes, scale, top_k=choices.top_k, score=choices.score
        )

    assignment, values, place = compose(encoded.maps), scores(encoded.groups), None
    if encoded.grid is not None:
        place = assignment.unflatten(2, encoded.grid)
    elif choices.readout == "groups":
        values = own_group(assignment, values)
    else:
        of_regions = scores(vision.members(encoded))
        values = (
            of_regions + own_group(assignment, values) if choices.readout == "both" else of_regions
        )
    if choices.background is None:
        return GroupScores(values, place, None)
    visible = values if place is not None else values.masked_fill(~mask[..., None], -torch.inf)
    return GroupScores(values, place, visible.flatten(1).amax(1).clamp(max=choices.background))


def logits(
    groups: GroupScores, inputs: Inputs, choices: ZeroShot
) -> Float[Tensor, "batch _class {inputs.size[0]} {inputs.size[1]}"]:
    """Of each pixel; with a limit, a first channel more: the background."""
    scores = before_background(groups)
    if groups.assignment is None:
        return paint_scores(scores, inputs)
    return own_scores(scores, nearest_group(groups.assignment, inputs.size, maps=choices.maps))


def before_background(groups: GroupScores) -> Float[Tensor, "batch group _class"]:
    """Scores; with a limit of a class more, see `with_background`: pixels have what their
    group has.
    """
    return groups.scores if groups.limit is None else with_background(groups.scores, groups.limit)


def labels(
    groups: GroupScores, inputs: Inputs, choices: ZeroShot
) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
    """The class of the largest logit, -1 for background; logits of pixels
    are never made.
    """
    scores = before_background(groups)  # products of softmaxes do not exceed 1
    if groups.assignment is None:
        best = paint_labels(scores, inputs)
    else:
        group = nearest_group(groups.assignment, inputs.size, maps=choices.maps)
        best = scores.argmax(2).gather(1, group.flatten(1)).unflatten(1, inputs.size)
    return best if groups.limit is None else best - 1


@runtime_checkable
class GroupConfig(Protocol):
    """What the config of a model with groups says of its inference."""

    @property
    def pool(self) -> Pool:
        """What a text is compared with in an image."""
        ...

    @property
    def zero_shot(self) -> ZeroShot:
        """The choices of inference."""
        ...


class GroupSegmenter(nn.Module):
    """A model with groups, as far as it labels pictures; what it learns from is its own.

    Attributes:
        config: of the model.
        towers: both encoders and their projectors.
        caption_scale: the learnt logarithm of 1 / tau of the caption loss.
    """

    config: GroupConfig
    towers: Towers
    caption_scale: nn.Parameter

    def encode_text(self, tokens: Int64[Tensor, "text token"]) -> Float[Tensor, "text embedding"]:
        """See EncodesTokens."""
        return self.towers.encode_text(tokens)

    @property
    def zero_shot(self) -> ZeroShot:
        """See HasZeroShotChoices."""
        return self.config.zero_shot

    def segment(
        self,
        inputs: Inputs,
        class_embeddings: Float[Tensor, "class embedding"],
        choices: ZeroShot | None = None,
    ) -> Float[Tensor, "batch _class {inputs.size[0]} {inputs.size[1]}"]:
        """Mask logits of one window; see HasZeroShotChoices."""
        choices = choices or self.zero_shot
        return logits(self.score_groups(inputs, class_embeddings, choices), inputs, choices)

    def label(
        self,
        inputs: Inputs,
        class_embeddings: Float[Tensor, "class embedding"],
        choices: ZeroShot | None = None,
    ) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
        """See HasZeroShotChoices."""
        choices = choices or self.zero_shot
        return labels(self.score_groups(inputs, class_embeddings, choices), inputs, choices)

    def score_groups(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"], choices: ZeroShot
    ) -> GroupScores:
        """Scores, not painted yet; arguments as of `segment`."""
        towers = self.towers
        return score_groups(
            towers.vision,
            towers.vision(inputs.image, inputs.regions, inputs.region_mask),
            towers.embed,
            towers.embed_classes(class_embeddings),
            self.caption_scale.exp().clamp(max=100.0),
            choices,
            mask=inputs.region_mask,
        )

    def image_logits(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class"]:
        """Cosines of whole pictures and classes: with the mean of the groups, or the
        best of them, as captions were compared with pictures in training."""
        towers = self.towers
        groups = towers.vision(inputs.image, inputs.regions, inputs.region_mask).groups
        bag = towers.embed(pool_groups(groups, self.config.pool))
        there = torch.ones_like(bag[..., 0], dtype=torch.bool)
        return bag_similarity(bag, there, towers.embed_classes(class_embeddings), 0.0)
