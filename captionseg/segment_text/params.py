"""Section `segment_text` of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np

from captionseg.constraints import Member
from captionseg.grounding.grounders import GROUNDERS
from captionseg.grounding.grounding_dino import GroundingDino
from captionseg.grounding.owlv2 import Owlv2
from captionseg.grounding.precomputed import Precomputed
from captionseg.grounding.relevance import JointSpace, Relevance
from captionseg.grounding.sam3 import Sam3
from captionseg.segment_text.maker import Maker
from captionseg.segmenters.sam import Sam
from captionseg.segmenters.sam2 import Sam2
from captionseg.segmenters.sam_hq import SamHq
from captionseg.segmenters.segmenters import SEGMENTERS
from captionseg.segmenters.superpixels import Superpixels
from captionseg.typed import Count, Name, Natural, Share, Split

NONE = "none"
"""Segmenter of a grounder that makes masks itself."""


@dataclass(frozen=True)
class SegmentTextParams:
    """Section `segment_text`.

    Attributes:
        curation: whose concepts are looked for beside the caption's noun phrases.
        concepts: at most so many an image, those of highest score.
        referring: a phrase that is found gives its segment the referring expression that it heads
            as a second text (USE); otherwise phrases alone.
        spacy_model: path or name of the pipeline that parses captions; None takes the pinned
            package.
        drop_stop_nouns: leave out phrases like "a picture" (captionseg/text/stop_nouns.txt); USE
            keeps them.
        split: whose images get segments.
        grounder: which of GROUNDERS; its own section holds its parameters.
        segmenter: which of SEGMENTERS, likewise; none for a grounder that makes masks itself.
        nms_iou: masks that overlap by more are one (USE: 0.7).
        full_image_share: a box of more of the picture is the whole picture (USE: 0.9).
        min_stability: less stable masks are dropped (USE: 0.6, for SAM's).
        min_area: smaller masks are dropped, in pixels.
        max_boxes: so many boxes of an image, those of highest score, become masks; time and memory
            grow with it.
        cells: dense features that phrases are standardised over.
    """

    curation: Name = "cocu_calibrated"
    concepts: Natural = 6
    referring: bool = True
    spacy_model: str | None = None
    drop_stop_nouns: bool = True
    split: Split = "train"
    grounder: Annotated[str, Member(GROUNDERS)] = "relevance"
    segmenter: Annotated[str, Member(SEGMENTERS, also=NONE)] = "superpixels"
    nms_iou: Share = 0.7
    full_image_share: Share = 0.9
    min_stability: Share = 0.3
    min_area: Natural = 64
    max_boxes: Count = 1000
    cells: Count = 8192
    relevance: Relevance = field(default_factory=Relevance)
    grounding_dino: GroundingDino = field(default_factory=GroundingDino)
    precomputed: Precomputed = field(default_factory=Precomputed)
    owlv2: Owlv2 = field(default_factory=Owlv2)
    sam3: Sam3 = field(default_factory=Sam3)
    superpixels: Superpixels = field(default_factory=Superpixels)
    sam: Sam = field(default_factory=Sam)
    sam2: Sam2 = field(default_factory=Sam2)
    sam_hq: SamHq = field(default_factory=SamHq)

    def __post_init__(self) -> None:
        if self.grounder not in GROUNDERS:
            return  # said elsewhere
        makes_masks = GROUNDERS[self.grounder].makes_masks
        if makes_masks and self.segmenter != NONE:
            raise ValueError(
                f"segmenter: {self.segmenter} would not be used, since the grounder "
                f"{self.grounder} makes masks itself; set segmenter: {NONE}"
            )
        if not makes_masks and self.segmenter == NONE:
            raise ValueError(
                f"segmenter: {NONE}, but the grounder {self.grounder} makes no masks; name one of "
                f"{', '.join(SEGMENTERS)}"
            )

    @property
    def members(self) -> dict[str, Any]:
        """Name -> params of the grounder, and of the segmenter if there is one."""
        names = (self.grounder, self.segmenter)
        return {name: getattr(self, name) for name in names if name != NONE}

    @property
    def device(self) -> str:
        """That most of the work is done on: of the grounder, or else of the segmenter; cpu where
        they have none.
        """
        devices = [getattr(member, "device", "cpu") for member in self.members.values()]
        return next((device for device in devices if device != "cpu"), "cpu")

    @property
    def reads_dense(self) -> bool:
        """Whether the grounder reads dense features."""
        return getattr(self, self.grounder).reads_dense

    def build(self, space: JointSpace, cells: np.ndarray | None) -> Maker:
        """The maker of segments for a corpus with these dense features, [n, F] drawn from all over
        it; None for a grounder that reads none.
        """
        grounder = getattr(self, self.grounder).build(space, cells)
        segmenter = None if self.segmenter == NONE else getattr(self, self.segmenter).build()
        return Maker(
            grounder,
            segmenter,
            "+".join(self.members),
            nms_iou=self.nms_iou,
            full_image_share=self.full_image_share,
            min_stability=self.min_stability,
            min_area=self.min_area,
            max_boxes=self.max_boxes,
        )
