"""The configuration of USE (Wang et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from captionseg.modeling.layers.backbone import Network
from captionseg.modeling.objectives.pairs import Duplicates
from captionseg.modeling.segmenter import InputSpec, Sizes, TextKind
from captionseg.text.prompts import PromptSet
from captionseg.typed import AboveZero, Count, Natural, ShareBelowOne, ZeroOrMore


@dataclass(frozen=True)
class UseConfig:
    """What defines a USE.

    Attributes:
        networks: towers that pictures go through; empty reads cached dense features.
        crop: side of training pictures, in pixels.
        cell: side of the cells that maps come to and masks of segments are reduced to; a patch of
            the towers.
        short_side: of whole pictures, in pixels; 0 takes that of the crop.
        towers: widths of the blocks of each tower, in the order of the channels of dense features;
            empty takes them all as the one block of one tower.
        text_width: D of the frozen text embeddings; 0 takes it from the data.
        width: of each tower's merged map; 0 takes that of its widest block.
        cls: a vector of the whole picture beside each tower's pooled one: its [CLS] after the final
            norm; where there is none, as in cached features, the mean of its last block's map,
            normalised.
        dropout: of the pooled vectors while training; the paper has none.
        logit_scale: of cosines, not learnt: tau = 30 of the paper, read as a factor (divided by 30
            nothing is learnt).
        duplicates: what equal texts of a batch are to each other, see `segment_contrast`; plain is
            Eq. 1 as printed.
        segments: at most so many of a picture in a step.
        min_cells: smaller segments, in cells of the features' grid, are not trained on.
        kinds: of texts that are learnt from: USE's are phrases and expressions of captions.
        prompts: template set that texts are put into, one for each text and epoch.
        score: of a region for a class; softmax is over all classes, with `logit_scale`. Of regions
            that do not overlap both make the same labels.
    """

    networks: tuple[Network, ...] = ()
    crop: Count = 560
    cell: Count = 14
    short_side: Natural = 0
    towers: tuple[tuple[Count, ...], ...] = ()
    text_width: Natural = 0
    width: Natural = 0
    cls: bool = True
    dropout: ShareBelowOne = 0.0
    logit_scale: AboveZero = 30.0
    duplicates: Duplicates = "unique"
    segments: Count = 64
    min_cells: ZeroOrMore = 0.25
    kinds: tuple[TextKind, ...] = ("phrase", "expression", "concept")
    prompts: PromptSet = "segment"
    score: Literal["cosine", "softmax"] = "cosine"

    def __post_init__(self) -> None:
        if self.segments < 1:
            raise ValueError(
                f"use: segments {self.segments} leaves nothing to train on; give at least 1"
            )
        if not self.kinds:
            raise ValueError(
                "use: kinds names no texts to learn from; give phrase, expression or concept"
            )
        if self.logit_scale < 1.0:
            raise ValueError(
                f"use: logit_scale {self.logit_scale} is a factor of cosines; below 1 nothing is "
                "learnt"
            )
        if self.networks and self.towers:
            raise ValueError(
                "use: towers are channels of cached features, and networks read none; give one of "
                "both"
            )
        if self.cell < 1 or self.crop < 1 or self.crop % self.cell or self.short_side < 0:
            raise ValueError(
                f"use: crop {self.crop} must be a multiple of cell {self.cell}, short_side not "
                "below 0"
            )

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        reads = InputSpec(segments=self.segments, kinds=self.kinds, prompts=self.prompts)
        if not self.networks:
            return replace(reads, dense=True)
        return replace(reads, picture=self.crop, cells=self.crop // self.cell)

    def with_sizes(self, sizes: Sizes) -> UseConfig:
        """With widths that are 0 taken from the data.

        Raises:
            ValueError: if the towers' blocks are not all of the dense features.
        """
        if self.networks:
            return replace(self, text_width=self.text_width or sizes.texts)
        towers, given = self.towers or ((sizes.head.width,),), sizes.head.width
        if given and sum(map(sum, towers)) != given:
            raise ValueError(
                f"use: blocks of {sum(map(sum, towers))} channels, dense features of {given}"
            )
        return replace(self, towers=towers, text_width=self.text_width or sizes.texts)


def use_paper() -> UseConfig:
    """The published configuration; files of weights are left to be named (`networks`)."""
    return UseConfig(
        (
            Network("vit_large_patch14_clip_quickgelu_336"),
            Network("vit_large_patch14_dinov2", blocks=6),
        ),
        duplicates="plain",
        score="softmax",
    )
