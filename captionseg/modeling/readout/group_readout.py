"""Mask logits of models with groups: a pixel has the scores of its group, its region, or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from captionseg.model_inputs import Inputs
from captionseg.modeling.layers.grouping import (
    compose_assignments,
    gather_own_group,
    to_largest_group,
)
from captionseg.modeling.objectives.bags import bag_similarity
from captionseg.modeling.readout.regions import paint_labels, paint_scores
from captionseg.modeling.readout.zero_shot import (
    ZeroShot,
    add_background,
    assign_pixels,
    paint_groups,
    score_classes,
)
from captionseg.modeling.towers.dual_encoder import Pool, Towers, pool_groups
from captionseg.modeling.towers.group_encoder import GroupEncoder, GroupEncoding


class GroupScores(NamedTuple):
    """Scores of classes for groups or regions.

    Attributes:
        scores: scores of groups, or of regions if `assignment` is None.
        assignment: assignment of the cells of a grid to groups.
        limit: minimum score of a foreground class; None without a background.
        bounds: least and greatest possible score.
    """

    scores: Float[Tensor, "batch group class"]
    assignment: Float[Tensor, "batch group h w"] | None
    limit: Float[Tensor, " batch"] | None
    bounds: tuple[float, float]


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
    """Score classes for each group or region, see `readout.zero_shot`.

    Args:
        vision: image encoder.
        encoded: its output for a batch of windows.
        embed: maps vectors of the encoder to the joint space, L2-normalised.
        classes: L2-normalised.
        scale: 1 / tau of the caption loss.
        choices: options of inference.
        mask: False for padding of regions.
    """
    image = embed(encoded.groups.mean(1))

    def scores(vectors: Tensor) -> Tensor:
        return score_classes(
            embed(vectors), image, classes, scale, top_k=choices.top_k, score=choices.score
        )

    stages = encoded.maps
    if choices.maps == "hard":
        stages = [to_largest_group(stage) for stage in stages]
    assignment, values, maps = compose_assignments(stages), scores(encoded.groups), None
    bounds = choices.bounds(summed=encoded.grid is None and choices.readout == "both")
    if encoded.grid is not None:
        maps = assignment.unflatten(2, encoded.grid)
    elif choices.readout == "groups":
        values = gather_own_group(assignment, values)
    else:
        of_regions = scores(vision.members(encoded))
        values = (
            of_regions + gather_own_group(assignment, values)
            if choices.readout == "both"
            else of_regions
        )
    if choices.background is None:
        return GroupScores(values, maps, None, bounds)
    visible = values if maps is not None else values.masked_fill(~mask[..., None], -torch.inf)
    limit = visible.flatten(1).amax(1).clamp(max=choices.background)
    return GroupScores(values, maps, limit, bounds)


def paint_group_logits(
    groups: GroupScores, inputs: Inputs
) -> Float[Tensor, "batch _class {inputs.size[0]} {inputs.size[1]}"]:
    """Return the mask logits of pixels; with a limit, the first channel is the background."""
    scores = add_background_class(groups)
    if groups.assignment is None:
        return paint_scores(scores, inputs)
    return paint_groups(scores, assign_pixels(groups.assignment, inputs.size))


def add_background_class(groups: GroupScores) -> Float[Tensor, "batch group _class"]:
    """Return the scores of groups; with a limit, the first class is the background."""
    if groups.limit is None:
        return groups.scores
    return add_background(groups.scores, groups.limit, groups.bounds)


def paint_group_labels(
    groups: GroupScores, inputs: Inputs
) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
    """Return the class of each pixel, -1 for background, without computing logits of pixels."""
    scores = add_background_class(groups)
    if groups.assignment is None:
        best = paint_labels(scores, inputs)
    else:
        group = assign_pixels(groups.assignment, inputs.size)
        best = scores.argmax(2).gather(1, group.flatten(1)).unflatten(1, inputs.size)
    return best if groups.limit is None else best - 1


@runtime_checkable
class GroupConfig(Protocol):
    """Fields of the config of a model with groups that its inference reads."""

    @property
    def pool(self) -> Pool:
        """Whether texts are compared with all groups, or with their mean."""
        ...

    @property
    def zero_shot(self) -> ZeroShot:
        """Options of inference."""
        ...


class GroupSegmenter(nn.Module):
    """Base class of models with groups: their inference.

    Attributes:
        config: config of the model.
        towers: both encoders and their projectors.
        caption_scale: learnt logarithm of 1 / tau of the caption loss.
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
        """See HasZeroShotChoices; inputs are windows of pictures."""
        choices = choices or self.zero_shot
        return paint_group_logits(self.score_groups(inputs, class_embeddings, choices), inputs)

    def label(
        self,
        inputs: Inputs,
        class_embeddings: Float[Tensor, "class embedding"],
        choices: ZeroShot | None = None,
    ) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
        """See HasZeroShotChoices."""
        choices = choices or self.zero_shot
        return paint_group_labels(self.score_groups(inputs, class_embeddings, choices), inputs)

    def score_groups(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"], choices: ZeroShot
    ) -> GroupScores:
        """Return the scores of groups or regions; arguments as of `segment`."""
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
        """See EmbedsImages: classes are compared with the mean of the groups, or the most similar
        group, as captions in training.
        """
        towers = self.towers
        groups = towers.vision(inputs.image, inputs.regions, inputs.region_mask).groups
        bag = towers.embed(pool_groups(groups, self.config.pool))
        mask = torch.ones_like(bag[..., 0], dtype=torch.bool)
        return bag_similarity(bag, mask, towers.embed_classes(class_embeddings), 0.0)
