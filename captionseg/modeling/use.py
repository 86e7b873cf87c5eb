"""USE (Wang et al. 2024): embeddings of segments, trained on segments and the texts that name them.

Feature maps of frozen towers are merged, pooled over each segment and mapped to the space of texts. Dense features are
read as they were cached; in them blocks and towers, where there are several, are consecutive channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.grids import overlap
from captionseg.modeling.layers.merging import SegmentEncoder
from captionseg.modeling.pairs import Duplicates, segment_contrast
from captionseg.modeling.regions import masks_of, paint_labels, paint_scores, region_masks
from captionseg.modeling.segmenter import Gather, Reads, Sizes, Start, alone
from captionseg.records import Batch, Inputs


@dataclass(frozen=True)
class UseConfig:
    """What defines a USE.

    Attributes:
        towers: widths of the blocks of each tower, in the order of the channels of dense features; empty takes them all
            as the one block of one tower.
        text_width: D of the frozen text embeddings; 0 takes it from the data.
        width: of each tower's merged map; 0 takes that of its widest block.
        cls: a vector of the whole picture beside each tower's pooled one: the mean of its last block's map, normalised,
            in place of a [CLS] that cached features do not hold.
        dropout: of the pooled vectors while training; the paper has none.
        logit_scale: of cosines, not learnt: tau = 30 of the paper, read as a factor (divided by 30 nothing is learnt).
        duplicates: what equal texts of a batch are to each other, see `segment_contrast`; plain is Eq. 1 as printed.
        segments: at most so many of a picture in a step.
        min_cells: smaller segments, in cells of the features' grid, are not trained on.
        prompts: template set that texts are put into, one for each text and epoch.
        score: of a region for a class; softmax is over all classes, with `logit_scale`. Of regions that do not
            overlap both make the same labels.
    """

    towers: tuple[tuple[int, ...], ...] = ()
    text_width: int = 0
    width: int = 0
    cls: bool = True
    dropout: float = 0.0
    logit_scale: float = 30.0
    duplicates: Duplicates = "unique"
    segments: int = 64
    min_cells: float = 0.25
    prompts: str = "segment"
    score: Literal["cosine", "softmax"] = "cosine"

    def __post_init__(self) -> None:
        if self.segments < 1:
            raise ValueError(f"use: segments {self.segments} leaves nothing to train on; give at least 1")
        if self.logit_scale < 1.0:
            raise ValueError(f"use: logit_scale {self.logit_scale} is a factor of cosines; below 1 nothing is learnt")

    @property
    def reads(self) -> Reads:
        """See Segmenter."""
        return Reads(dense=True, segments=self.segments, prompts=self.prompts)

    def sized(self, sizes: Sizes) -> UseConfig:
        """With widths that are 0 taken from the data.

        Raises:
            ValueError: if the towers' blocks are not all of the dense features.
        """
        towers, given = self.towers or ((sizes.head.width,),), sizes.head.width
        if given and sum(map(sum, towers)) != given:
            raise ValueError(f"use: blocks of {sum(map(sum, towers))} channels, dense features of {given}")
        return replace(self, towers=towers, text_width=self.text_width or sizes.texts)


class UseOutputs(NamedTuple):
    """What the loss needs: segments and texts [B, S, D], both L2-normalised, which text each is [B, S] and all that
    name the segment [B, S, K]; -1 is none."""

    segments: Tensor
    texts: Tensor
    number: Tensor
    known: Tensor


class Use(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: UseConfig) -> None:
        super().__init__()
        self.config = config
        cls = [blocks[-1] for blocks in config.towers] if config.cls else []
        self.encoder = SegmentEncoder(config.towers, config.text_width, width=config.width, cls=cls,
                                      dropout=config.dropout)  # fmt: skip

    def start(self, given: Start) -> None:
        """Nothing is taken from the data."""

    def forward(self, batch: Batch) -> UseOutputs:
        """Embed the segments; those that hardly touch the grid have no text."""
        assert batch.dense is not None
        assert batch.segment_masks is not None
        assert batch.segment_embedding is not None
        assert batch.segment_text is not None
        assert batch.segment_texts is not None
        large = batch.segment_masks.sum((2, 3)) >= self.config.min_cells
        return UseOutputs(
            self.embed(batch.dense, batch.segment_masks), F.normalize(batch.segment_embedding.float(), dim=-1),
            torch.where(large, batch.segment_text, -1), batch.segment_texts,
        )

    def embed(self, dense: Tensor, masks: Tensor) -> Tensor:
        """[B, S, D], L2-normalised, of segments.

        Args:
            dense: [B, gh, gw, F].
            masks: [B, S, gh, gw] how much of each cell lies in a segment.
        """
        blocks = iter(dense.float().split([width for tower in self.config.towers for width in tower], 3))
        towers = [[next(blocks) for _ in tower] for tower in self.config.towers]
        cls = [F.layer_norm(mean := maps[-1].mean((1, 2)), mean.shape[1:]) for maps in towers]
        return F.normalize(self.encoder(towers, masks, cls if self.config.cls else ()), dim=-1)

    def embed_inputs(self, inputs: Inputs, masks: Tensor) -> Tensor:
        """[B, S, D], L2-normalised, of segments of pictures.

        Args:
            inputs: of B pictures, as the model reads them.
            masks: [B, S, h, w] bool, or shares of cells, on any grid that covers the whole pictures; they may overlap.
                An empty one gets some vector.
        """
        assert inputs.dense is not None
        return self.embed(inputs.dense, cell_shares(masks, (inputs.dense.shape[1], inputs.dense.shape[2])))

    def losses(self, outputs: UseOutputs, gather: Gather = alone, *, rank: int = 0) -> dict[str, Tensor]:
        """Eq. 1 over the segments of all ranks; the same on every rank."""
        every = UseOutputs(*(gather(value).flatten(0, 1) for value in outputs))
        segments, texts, number, known = (value[every.number >= 0] for value in every)
        return {"segment": segment_contrast(segments, texts, number, known, scale=self.config.logit_scale,
                                            duplicates=self.config.duplicates)}  # fmt: skip

    def region_scores(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """[B, S, C] of class-agnostic regions and classes: cosines, or probabilities."""
        masks = region_masks(inputs.labels, inputs.region_mask.shape[1])
        cosine = self.embed_inputs(inputs, masks) @ F.normalize(class_embeddings.float(), dim=-1).T
        return cosine if self.config.score == "cosine" else (self.config.logit_scale * cosine).softmax(2)

    def mask_scores(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """See Segmenter: softmax over all classes of cosines times `logit_scale`."""
        cosine = self.embed_inputs(inputs, masks_of(inputs)) @ F.normalize(class_embeddings.float(), dim=-1).T
        return (self.config.logit_scale * cosine).softmax(2)

    def segment(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Mask logits [B, C, height, width]: each pixel has the scores of its region."""
        return paint_scores(self.region_scores(inputs, class_embeddings), inputs)

    def label(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """See Segmenter: the best class of each region, painted."""
        return paint_labels(self.region_scores(inputs, class_embeddings), inputs)


def cell_shares(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """[B, S, gh, gw]: how much of each cell of a grid lies in masks [B, S, h, w]."""
    rows, columns = (torch.from_numpy(overlap(fine, coarse)).to(masks.device)
                     for fine, coarse in zip(masks.shape[2:], grid, strict=True))
    return rows.T @ (masks.float() @ columns)
