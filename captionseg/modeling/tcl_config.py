"""The configuration of TCL (Cha et al. 2023), and of inference with its grounder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from captionseg.losses.contrastive import MultiLabel
from captionseg.modeling.layers.grounder import GrounderConfig
from captionseg.modeling.segmenter import InputSpec, Sizes
from captionseg.typed import AboveZero, Finite, Natural, Share, ZeroOrMore


@dataclass(frozen=True)
class GroundingChoices:
    """The choices of inference with a grounder.

    Attributes:
        knowledge: share of the frozen features' own masks in the result (KP); TCL and CoDe publish
            with .3. 0 leaves cosines as they are.
        background: constant score of the background, against masks in 0..1; None knows no
            background.
    """

    knowledge: Share = 0.0
    background: Finite | None = None


@dataclass(frozen=True)
class TclConfig:
    """What defines a TCL.

    Attributes:
        grounder: of dense features.
        picture: side of training pictures that go through the frozen encoder; 0 reads cached dense
            features.
        texts: captions as in the paper, or the concepts drawn.
        text_adapter: a gated linear map of texts, for a text encoder that was never trained with
            pictures.
        scale, bias: w and b of a mask's logits at the start; both are learnt.
        noise: of the hard masks' Gumbel-sigmoid.
        image_weight, feature_weight: of the two contrastive losses.
        positive_area, negative_area: priors; positive_weight, negative_weight of their losses.
        negative_area, positive_weight, negative_weight: see positive_area.
        smooth_features, smooth_masks: weights of total variation.
        normalised: region features are means of L2-normalised cells, and so is total variation
            (CoDe); TCL takes them as they are.
        prompt: what is masked is filled with a learnt prompt (Eq. 3.4 of CoDe) in place of the
            mean.
        temperature: of each contrastive loss at the start, learnt, its inverse clamped at 100.
        multi_label, mask_negatives: as in SegmentMilConfig.
        late_from: share of the steps after which the copied last block begins to train.
        zero_shot: the choices of inference.
    """

    grounder: GrounderConfig = field(default_factory=GrounderConfig)
    picture: Natural = 0
    texts: Literal["captions", "concepts"] = "captions"
    text_adapter: bool = False
    scale: Finite = 10.0
    bias: Finite = -2.5
    noise: ZeroOrMore = 1.0
    image_weight: ZeroOrMore = 0.1
    feature_weight: ZeroOrMore = 0.1
    positive_area: Share = 0.4
    negative_area: Share = 0.0
    positive_weight: ZeroOrMore = 0.4
    negative_weight: ZeroOrMore = 0.4
    smooth_features: ZeroOrMore = 1.0
    smooth_masks: ZeroOrMore = 1.0
    normalised: bool = False
    prompt: bool = False
    temperature: AboveZero = 0.07
    multi_label: MultiLabel = "log_sum"
    mask_negatives: bool = True
    late_from: Share = 0.6
    zero_shot: GroundingChoices = field(default_factory=GroundingChoices)

    def __post_init__(self) -> None:
        if not 0.0 <= self.late_from <= 1.0:
            raise ValueError(f"tcl: late_from {self.late_from} is no share of the steps")

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return InputSpec(picture=self.picture, dense=not self.picture, live=bool(self.picture))

    def with_sizes(self, sizes: Sizes) -> TclConfig:
        """With widths that are 0 taken from the data."""
        if self.grounder.head.width:
            return self
        return replace(self, grounder=replace(self.grounder, head=sizes.head))


def tcl_released() -> TclConfig:
    """The released configuration, on pictures of 224 pixels through the frozen encoder."""
    grounder = GrounderConfig(
        blocks=2, factor=2, convs=2, conv="full", adapter=0, dropout=0.0, gate=0.0
    )
    return TclConfig(
        grounder, picture=224, mask_negatives=False, zero_shot=GroundingChoices(knowledge=0.3)
    )
