"""segment_mil: multiple-instance contrastive learning over class-agnostic regions of frozen
features.

An image is a bag of regions; a text fits an image as well as it fits the regions that it fits best.
So the only supervision is captions and curated concepts, and what is learnt says which region each
text means. The losses are Eq. 1-5 of CoCu (GroupViT's), the embedding and the query by text are
USE's in small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.losses.contrastive import MultiLabel
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.layers.tokens import RegionNorm
from captionseg.modeling.objectives.bags import BagContrast, Bags, Scales, bag_similarity
from captionseg.modeling.readout.regions import paint_labels, paint_scores
from captionseg.modeling.segmenter import Gather, InputSpec, Sizes, Start, gather_single
from captionseg.typed import AboveZero, Count, Natural, ShareBelowOne, ZeroOrMore


@dataclass(frozen=True)
class SegmentMilConfig:
    """What defines a segment_mil.

    Attributes:
        region_width: F, features of a region; 0 takes it from the data.
        text_width: D of the frozen text embeddings; 0 takes it from the data.
        hidden: width of the region MLP.
        width: of the joint space.
        dropout: on the region features while training.
        pool_temperature: of the softmax over regions that pools a text's similarities; 0 is the
            maximum.
        temperature: initial tau of Eq. 1-4, learnt, its inverse clamped at 100.
        multi_label: log_sum is Eq. 3 as printed, soft_target the mean of logs.
        mask_negatives: texts that name only concepts of an image's archive are no negatives of it.
            False is the literal Eq. 1-4.
        caption_weight: of Eq. 1-2 beside Eq. 3-4 (Eq. 5 has 1).
    """

    region_width: Natural = 0
    text_width: Natural = 0
    hidden: Count = 256
    width: Count = 256
    dropout: ShareBelowOne = 0.1
    pool_temperature: ZeroOrMore = 0.1
    temperature: AboveZero = 0.07
    multi_label: MultiLabel = "log_sum"
    mask_negatives: bool = True
    caption_weight: ZeroOrMore = 1.0

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return InputSpec()

    def with_sizes(self, sizes: Sizes) -> SegmentMilConfig:
        """With widths that are 0 taken from the data."""
        return replace(
            self,
            region_width=self.region_width or sizes.regions,
            text_width=self.text_width or sizes.texts,
        )


class SegmentMil(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: SegmentMilConfig) -> None:
        super().__init__()
        self.config = config
        self.contrast = BagContrast(
            config.pool_temperature, config.multi_label, config.mask_negatives
        )
        self.region_norm = RegionNorm(config.region_width, dropout=config.dropout)
        self.region_head = nn.Sequential(
            nn.Linear(config.region_width, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.width),
        )
        self.text_head = nn.Linear(config.text_width, config.width)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1.0 / config.temperature)))

    def start(self, given: Start) -> None:
        """Before training: statistics of the region features."""
        self.region_norm.standardise(given.regions)

    def forward(self, batch: Batch) -> Bags:
        """Embed regions, captions and drawn concepts."""
        return Bags(
            self.embed_regions(batch.regions),
            batch.region_mask,
            self.embed_texts(batch.caption_embedding),
            self.embed_texts(batch.text_embedding),
            batch.caption_concepts,
            batch.text_concept,
            batch.archive,
        )

    def embed_regions(
        self, regions: Float[Tensor, "batch region feature"]
    ) -> Float[Tensor, "batch region width"]:
        """L2-normalised."""
        return F.normalize(self.region_head(self.region_norm(regions)).float(), dim=-1)

    def embed_texts(self, texts: Float[Tensor, "*some embedding"]) -> Float[Tensor, "*some width"]:
        """[.., D] -> [.., W], L2-normalised."""
        return F.normalize(self.text_head(texts).float(), dim=-1)

    def losses(
        self, outputs: Bags, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Eq. 5 in two parts, see BagContrast; both with one temperature."""
        scale = self.logit_scale.exp().clamp(max=100.0)
        losses = self.contrast(outputs, Scales(scale, scale), gather, rank=rank)
        return {
            "caption": self.config.caption_weight * losses["caption"],
            "concept": losses["concept"],
        }

    def region_logits(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch region class"]:
        """Cosines of regions and classes."""
        return self.embed_regions(inputs.regions) @ self.embed_texts(class_embeddings).T

    def segment(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class {inputs.size[0]} {inputs.size[1]}"]:
        """Mask logits: each pixel has the cosines of its region."""
        return paint_scores(self.region_logits(inputs, class_embeddings), inputs)

    def label(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: the best class of each region, painted; logits of pixels are never
        made."""
        return paint_labels(self.region_logits(inputs, class_embeddings), inputs)

    def image_logits(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class"]:
        """See EmbedsImages: as a text is compared with a bag of regions in training."""
        return bag_similarity(
            self.embed_regions(inputs.regions),
            inputs.region_mask,
            self.embed_texts(class_embeddings),
            self.config.pool_temperature,
        )
