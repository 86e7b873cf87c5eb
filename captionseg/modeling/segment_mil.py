"""segment_mil: multiple-instance contrastive learning over regions of frozen features.

An image is a bag of class-agnostic regions. The similarity of a text and an image is that of the
most similar regions, so that captions and curated concepts teach which region each text means. The
losses are Eq. 1-5 of CoCu (those of GroupViT); the embeddings of segments are a small version of
USE's.

With `start: aligned` the model begins where the index ends: regions are embedded by the frozen
encoder's map of dense features to the space of texts, and training learns a correction of it. With
`random` the captions of the training pictures have to teach the whole map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.dense_head import DenseHead, HeadConfig
from captionseg.losses.contrastive import MultiLabel
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.layers.tokens import RegionNorm
from captionseg.modeling.objectives.bags import BagContrast, Bags, Scales, bag_similarity
from captionseg.modeling.readout.regions import paint_labels, paint_scores
from captionseg.modeling.segmenter import Gather, InputSpec, Sizes, Start, gather_single
from captionseg.typed import AboveZero, Count, Natural, ShareBelowOne, ZeroOrMore


@dataclass(frozen=True)
class SegmentMilConfig:
    """Configuration of segment_mil.

    Attributes:
        region_width: F, number of features of a region; 0 takes it from the data.
        text_width: D of the frozen text embeddings; 0 takes it from the data.
        hidden: width of the hidden layer of the region MLP.
        width: width of the joint space; 0 takes that of the space of texts, as `aligned` needs it.
        start: `random` weights, or `aligned`, see above.
        head: config of the map that `aligned` starts from.
        dropout: dropout of region features in training.
        pool_temperature: temperature of the softmax over regions that pools a text's similarities;
            0 is the maximum.
        temperature: initial tau of Eq. 1-4, learnt; its inverse is at most 100.
        multi_label: how several positives are combined: log_sum is Eq. 3 as printed, soft_target
            the mean of logs.
        mask_negatives: whether texts that name only concepts of an image's archive are excluded
            from its negatives; False is Eq. 1-4 as printed.
        caption_weight: weight of Eq. 1-2 relative to Eq. 3-4; 1 in Eq. 5.
    """

    region_width: Natural = 0
    text_width: Natural = 0
    hidden: Count = 256
    width: Natural = 256
    start: Literal["random", "aligned"] = "random"
    head: HeadConfig = field(default_factory=HeadConfig)
    dropout: ShareBelowOne = 0.1
    pool_temperature: ZeroOrMore = 0.1
    temperature: AboveZero = 0.07
    multi_label: MultiLabel = "log_sum"
    mask_negatives: bool = True
    caption_weight: ZeroOrMore = 1.0

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return InputSpec(alignment=self.start == "aligned")

    def with_sizes(self, sizes: Sizes) -> SegmentMilConfig:
        """Return a copy in which widths that are 0 are those of the data.

        Raises:
            ValueError: if `start: aligned` is asked for in a space of another width than that of
                texts.
        """
        texts, aligned = self.text_width or sizes.texts, self.start == "aligned"
        if aligned and self.width not in (0, texts):
            raise ValueError(
                f"width: {self.width} does not go with start: aligned, whose space is that of texts"
                f" ({texts}); use 0"
            )
        return replace(
            self,
            region_width=self.region_width or sizes.regions,
            text_width=texts,
            width=self.width or texts,
            head=sizes.head if aligned and not self.head.width else self.head,
        )


class SegmentMil(nn.Module):
    """The segment_mil model; see the module's docstring."""

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
        self.base = DenseHead(config.head) if config.start == "aligned" else None
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1.0 / config.temperature)))

    def start(self, data: Start) -> None:
        """See Segmenter: statistics of region features, and the alignment to start from."""
        self.region_norm.standardise(data.regions)
        if self.base is not None and data.space is not None:
            self.base.load_state_dict(data.space.head().state_dict())
            nn.init.eye_(self.text_head.weight)
            for parameter in (*self.region_head[-1].parameters(), self.text_head.bias):
                nn.init.zeros_(parameter)

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
        """Embed regions in the joint space, L2-normalised."""
        x = self.region_norm(regions)
        embedding = self.region_head(x)
        if self.base is not None:  # of the features alone: the geometry of a region comes last
            features = self.region_norm.undo(x)[..., : self.config.head.width]
            embedding = embedding + self.base(features)
        return F.normalize(embedding.float(), dim=-1)

    def embed_texts(
        self, texts: Float[Tensor, "*batch embedding"]
    ) -> Float[Tensor, "*batch width"]:
        """See EmbedsTexts."""
        return F.normalize(self.text_head(texts).float(), dim=-1)

    def losses(
        self, outputs: Bags, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return the two parts of Eq. 5, see BagContrast, with one temperature for both."""
        scale = self.logit_scale.exp().clamp(max=100.0)
        losses = self.contrast(outputs, Scales(scale, scale), gather, rank=rank)
        return {
            "caption": self.config.caption_weight * losses["caption"],
            "concept": losses["concept"],
        }

    def region_logits(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch region class"]:
        """Return the cosines of regions and classes."""
        return self.embed_regions(inputs.regions) @ self.embed_texts(class_embeddings).T

    def segment(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: each pixel has the cosines of its region."""
        return paint_scores(self.region_logits(inputs, class_embeddings), inputs)

    def label(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: each pixel has the best class of its region."""
        return paint_labels(self.region_logits(inputs, class_embeddings), inputs)

    def image_logits(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class"]:
        """See EmbedsImages: the similarity of a text and a bag of regions, as in training."""
        return bag_similarity(
            self.embed_regions(inputs.regions),
            inputs.region_mask,
            self.embed_texts(class_embeddings),
            self.config.pool_temperature,
        )
