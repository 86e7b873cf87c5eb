"""The configuration of USE (Wang et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from captionseg.modeling.layers.backbone import Network
from captionseg.modeling.objectives.pair_losses import Duplicates
from captionseg.modeling.segmenter import InputSpec, Sizes, TextKind
from captionseg.text.prompts import PromptSet
from captionseg.typed import AboveZero, Count, Natural, ShareBelowOne, ZeroOrMore


@dataclass(frozen=True)
class UseConfig:
    """Configuration of USE.

    Attributes:
        networks: frozen towers that pictures go through; empty reads cached dense features.
        crop: side of training pictures in pixels.
        cell: side in pixels of the cells of the towers' maps and of segment masks: a patch of the
            towers.
        short_side: short side of whole pictures in pixels; 0 takes `crop`.
        towers: widths of the blocks of each tower, in the order of the channels of cached dense
            features; empty treats all channels as one block of one tower.
        text_width: D of the frozen text embeddings; 0 takes it from the data.
        width: width of each tower's merged map; 0 takes that of its widest block.
        cls: whether each tower adds a vector of the whole picture: what its attention pooling
            gives, else its [CLS] after the final norm; for cached features and towers with neither,
            the layer-normalised mean of its last map.
        dropout: dropout of the pooled vectors in training; the paper has none.
        logit_scale: factor of cosines, not learnt: the paper's tau = 30. Division by 30 would not
            train.
        duplicates: how equal texts of a batch are treated, see `segment_contrast`; plain is Eq. 1
            as printed.
        segments: maximum number of segments per picture and step.
        min_cells: smaller segments, in cells of the grid, are not trained on.
        kinds: kinds of texts to train on; the paper's are phrases and expressions of captions.
        prompts: template set for texts; one template is drawn per text and epoch.
        score: score of a region for a class: its cosine, or the softmax over all classes with
            `logit_scale`. For regions that do not overlap, both give the same labels.
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
        """Return a copy in which widths that are 0 are those of the data.

        Raises:
            ValueError: if the widths of the towers do not add up to that of the dense features.
        """
        if self.networks:
            return replace(self, text_width=self.text_width or sizes.texts)
        towers, width = self.towers or ((sizes.head.width,),), sizes.head.width
        if width and sum(map(sum, towers)) != width:
            raise ValueError(
                f"use: blocks of {sum(map(sum, towers))} channels, dense features of {width}"
            )
        return replace(self, towers=towers, text_width=self.text_width or sizes.texts)


def use_paper() -> UseConfig:
    """Return the published configuration, without the files of the towers' weights (`networks`)."""
    return UseConfig(
        (
            Network("vit_large_patch14_clip_quickgelu_336"),
            Network("vit_large_patch14_dinov2", blocks=6),
        ),
        duplicates="plain",
        score="softmax",
    )
