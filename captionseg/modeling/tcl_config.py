"""The configuration of TCL (Cha et al. 2023), and of inference with its grounder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from captionseg.losses.contrastive import MultiLabel
from captionseg.modeling.layers.tcl_grounder import GrounderConfig
from captionseg.modeling.segmenter import InputSpec, Sizes
from captionseg.typed import AboveZero, Finite, Natural, Share, ZeroOrMore


@dataclass(frozen=True)
class GroundingChoices:
    """Options of inference with a grounder.

    Attributes:
        knowledge: weight of the frozen features' own masks in the result ("knowledge prior", KP);
            TCL and CoDe use 0.3. With 0 and without background, scores are plain cosines.
        background: constant score of the background, compared with masks in 0..1; None means no
            background.
    """

    knowledge: Share = 0.0
    background: Finite | None = None


@dataclass(frozen=True)
class TclConfig:
    """Configuration of TCL.

    Attributes:
        grounder: config of the grounder.
        picture: side in pixels of training pictures, which go through the frozen encoder; 0 reads
            cached dense features instead.
        texts: captions, as in the paper, or the drawn concepts.
        text_adapter: whether texts go through a gated linear map, for a text encoder that was not
            trained with pictures.
        scale: initial w of mask logits, learnt.
        bias: initial b of mask logits, learnt.
        noise: noise of the hard masks, see `harden_masks`.
        image_weight: weight of the image-level contrastive loss.
        feature_weight: weight of the feature-level contrastive loss.
        positive_area: expected area of the masks of an image's own texts.
        negative_area: expected area of the masks of other texts.
        positive_weight: weight of the area loss of own texts.
        negative_weight: weight of the area loss of other texts.
        smooth_features: weight of the total variation of features.
        smooth_masks: weight of the total variation of masks.
        normalised: whether cells are L2-normalised before region means and total variation (CoDe);
            TCL does not.
        prompt: whether hidden parts of a picture are filled with a learnt prompt (Eq. 3.4 of CoDe)
            instead of the mean colour.
        temperature: initial temperature of each contrastive loss, learnt; its inverse is at most
            100.
        multi_label: as in SegmentMilConfig.
        mask_negatives: as in SegmentMilConfig.
        late_from: share of the steps after which training of the copied last block begins.
        zero_shot: options of inference.
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
        """Return a copy in which widths that are 0 are those of the data."""
        if self.grounder.head.width:
            return self
        return replace(self, grounder=replace(self.grounder, head=sizes.head))


def tcl_released() -> TclConfig:
    """Return the released configuration, with pictures of 224 pixels through the frozen encoder."""
    grounder = GrounderConfig(
        blocks=2, factor=2, convs=2, conv="full", adapter=0, dropout=0.0, gate=0.0
    )
    return TclConfig(
        grounder, picture=224, mask_negatives=False, zero_shot=GroundingChoices(knowledge=0.3)
    )
