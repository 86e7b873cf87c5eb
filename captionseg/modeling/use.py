"""USE (Wang et al. 2024): embeddings of segments, trained on segments and the texts that name them.

Feature maps of frozen towers are merged, pooled over each segment and mapped to the space of texts.
Pictures go through the towers (`networks`), as published, or cached dense features are read, whose
channels are those of the blocks and towers, one after the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.grids import overlap_within
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.layers.merging import SegmentEncoder
from captionseg.modeling.objectives.pair_losses import segment_contrast
from captionseg.modeling.readout.regions import (
    get_masks,
    make_region_masks,
    paint_labels,
    paint_scores,
)
from captionseg.modeling.segmenter import Gather, Start, gather_single
from captionseg.modeling.towers.frozen_towers import FrozenTowers, resize_and_pad
from captionseg.modeling.use_config import UseConfig

PICTURES = 8
"""Number of pictures that go through the towers at once in inference."""


class UseOutputs(NamedTuple):
    """What the loss needs.

    Attributes:
        segments: L2-normalised embeddings of segments.
        texts: L2-normalised embeddings of the text drawn for each.
        number: number of this text; -1 for a segment that does not count.
        known: numbers of all texts that name the segment; -1 pads.
    """

    segments: Float[Tensor, "B S D"]
    texts: Float[Tensor, "B S D"]
    number: Int[Tensor, "B S"]
    known: Int[Tensor, "B S K"]


class Use(nn.Module):
    """The USE model; see the module's docstring."""

    def __init__(self, config: UseConfig) -> None:
        super().__init__()
        self.config = config
        self.frozen_towers = (
            FrozenTowers(config.networks, crop=config.crop, cell=config.cell)
            if config.networks
            else None
        )
        widths = self.frozen_towers.widths if self.frozen_towers else config.towers
        cls = [blocks[-1] for blocks in widths] if config.cls else []
        self.encoder = SegmentEncoder(
            widths, config.text_width, width=config.width, cls=cls, dropout=config.dropout
        )
        self.counts = torch.zeros(2, dtype=torch.long)

    def start(self, data: Start) -> None:
        """Load the weights of the towers; nothing is taken from the data.

        Raises:
            UserError: for weights that are missing or do not fit.
        """
        if self.frozen_towers:
            self.frozen_towers.load()

    def forward(self, batch: Batch) -> UseOutputs:
        """Embed the segments; those smaller than `min_cells` do not count."""
        segments = batch.segments
        assert segments is not None
        has_text = segments.number >= 0
        large = segments.masks.sum((2, 3)) >= self.config.min_cells
        if self.training and self.frozen_towers:
            self.counts = self.counts.to(has_text.device) + torch.stack(
                [has_text.sum(), (has_text & ~large).sum()]
            )
        return UseOutputs(
            self.embed(select_visual_input(self, batch), segments.masks),
            F.normalize(segments.embedding.float(), dim=-1),
            torch.where(large, segments.number, -1),
            segments.known,
        )

    def take_counts(self) -> dict[str, float]:
        """See CountsInTraining: segments of crops, and those that became too small to be trained
        on.

        Empty for cached features, because they are not cropped.
        """
        if not self.frozen_towers:
            return {}
        total, vanished = self.counts.tolist()
        self.counts = torch.zeros(2, dtype=torch.long)
        return {"segments": float(total), "segments_vanished": float(vanished)}

    def embed(self, visual: Tensor, masks: Tensor) -> Tensor:
        """Embed segments: [B, S, D], L2-normalised.

        Args:
            visual: dense features [B, gh, gw, F], or with `networks` pictures [B, 3, H, W] whose
                sides are multiples of their patches.
            masks: [B, S, gh, gw] share of each cell that lies in a segment.
        """
        towers, cls = self.tower_maps(visual)
        return F.normalize(self.encoder(towers, masks, cls if self.config.cls else ()), dim=-1)

    def tower_maps(self, dense: Tensor) -> tuple[list[list[Tensor]], list[Tensor]]:
        """Return for each tower the maps [B, h, w, channels] of its blocks, and a vector [B,
        channels] of the picture.

        Args:
            dense: `visual` of `embed`.
        """
        if self.frozen_towers:
            features = self.frozen_towers(dense)
            return [tower.maps for tower in features], [tower.cls for tower in features]
        blocks = iter(
            dense.float().split([width for tower in self.config.towers for width in tower], 3)
        )
        towers = [[next(blocks) for _ in tower] for tower in self.config.towers]
        return towers, [
            F.layer_norm(mean := maps[-1].mean((1, 2)), mean.shape[1:]) for maps in towers
        ]

    def embed_inputs(self, inputs: Inputs, masks: Tensor) -> Tensor:
        """See EmbedsSegments.

        Args:
            inputs: B pictures.
            masks: [B, S, h, w] bool, or shares of cells, on any grid over the whole pictures; they
                may overlap. The vector of an empty mask is meaningless.
        """
        visual = select_visual_input(self, inputs)
        if not self.frozen_towers:
            return self.embed(visual, reduce_masks(masks, (visual.shape[1], visual.shape[2])))
        config = self.config
        visual, extent = resize_and_pad(
            visual, config.short_side or config.crop, self.frozen_towers.multiple
        )
        grid, parts = (
            (visual.shape[2] // config.cell, visual.shape[3] // config.cell),
            range(0, len(visual), PICTURES),
        )
        return torch.cat(
            [
                self.embed(
                    visual[i : i + PICTURES], reduce_masks(masks[i : i + PICTURES], grid, extent)
                )
                for i in parts
            ]
        )

    def losses(
        self, outputs: UseOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return Eq. 1 over the segments of all ranks, the same on gathered rank."""
        gathered = UseOutputs(*(gather(value).flatten(0, 1) for value in outputs))
        segments, texts, number, known = (value[gathered.number >= 0] for value in gathered)
        return {
            "segment": segment_contrast(
                segments,
                texts,
                number,
                known,
                scale=self.config.logit_scale,
                duplicates=self.config.duplicates,
            )
        }

    def region_scores(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch region class"]:
        """Return scores of class-agnostic regions: cosines, or probabilities (`score`)."""
        masks = make_region_masks(inputs.labels, inputs.region_mask.shape[1])
        cosine = self.embed_inputs(inputs, masks) @ F.normalize(class_embeddings.float(), dim=-1).T
        return (
            cosine
            if self.config.score == "cosine"
            else (self.config.logit_scale * cosine).softmax(2)
        )

    def mask_scores(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch mask class"]:
        """See ScoresMasks: softmax over all classes of cosines times `logit_scale`."""
        cosine = (
            self.embed_inputs(inputs, get_masks(inputs))
            @ F.normalize(class_embeddings.float(), dim=-1).T
        )
        return (self.config.logit_scale * cosine).softmax(2)

    def segment(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: each pixel has the scores of its region."""
        return paint_scores(self.region_scores(inputs, class_embeddings), inputs)

    def label(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: each pixel has the best class of its region."""
        return paint_labels(self.region_scores(inputs, class_embeddings), inputs)

    def image_logits(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class"]:
        """See EmbedsImages: the whole picture is one segment."""
        whole_picture = class_embeddings.new_ones(len(inputs.region_mask), 1, 1, 1)
        return (
            self.embed_inputs(inputs, whole_picture)[:, 0]
            @ F.normalize(class_embeddings.float(), dim=-1).T
        )


def select_visual_input(model: Use, inputs: Batch | Inputs) -> Tensor:
    """Return what a model reads: pictures [B, 3, H, W], or cached dense features [B, gh, gw, F]."""
    visual = inputs.image if model.frozen_towers else inputs.dense
    assert visual is not None
    return visual


def reduce_masks(
    masks: Tensor, grid: tuple[int, int], extent: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Return the share of each cell of a grid that lies in each mask, [B, S, gh, gw].

    Args:
        masks: [B, S, h, w] bool or shares, over whole pictures.
        grid: height and width of the grid.
        extent: shares of its height and width that the picture covers; the rest, on the right and
            at the bottom, is padding.
    """
    rows, columns = (
        torch.from_numpy(overlap_within(fine, coarse, 0.0, end)).to(masks.device)
        for fine, coarse, end in zip(masks.shape[2:], grid, extent, strict=True)
    )
    return rows.T @ (masks.float() @ columns)
