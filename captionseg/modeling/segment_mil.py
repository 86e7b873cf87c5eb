"""segment_mil: multiple-instance contrastive learning over class-agnostic regions of frozen features.

An image is a bag of regions; a text fits an image as well as it fits the regions that it fits best. So the only
supervision is captions and curated concepts, and what is learnt says which region each text means. The losses are
Eq. 1-5 of CoCu (GroupViT's), the embedding and the query by text are USE's in small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.losses.contrastive import MultiLabel, contrastive, may_be_negative
from captionseg.modeling.segmenter import Gather, alone
from captionseg.records import Batch, Inputs


@dataclass(frozen=True)
class SegmentMilConfig:
    """What defines a segment_mil.

    Attributes:
        region_width: F, features of a region; 0 takes it from the data.
        text_width: D of the frozen text embeddings; 0 takes it from the data.
        hidden: width of the region MLP.
        width: of the joint space.
        dropout: on the region features while training; all regions of an image lose the same features, which costs
            less and generalises better than a draw for each region.
        pool_temperature: of the softmax over regions that pools a text's similarities; 0 is the maximum.
        temperature: initial tau of Eq. 1-4, learnt, its inverse clamped at 100.
        multi_label: log_sum is Eq. 3 as printed, soft_target the mean of logs.
        mask_negatives: texts that name only concepts of an image's archive are no negatives of it. False is the
            literal Eq. 1-4.
        caption_weight: of Eq. 1-2 beside Eq. 3-4 (Eq. 5 has 1).
    """

    region_width: int = 0
    text_width: int = 0
    hidden: int = 256
    width: int = 256
    dropout: float = 0.1
    pool_temperature: float = 0.1
    temperature: float = 0.07
    multi_label: MultiLabel = "log_sum"
    mask_negatives: bool = True
    caption_weight: float = 1.0


@dataclass(frozen=True)
class SegmentMilOutputs:
    """Embeddings, all L2-normalised: regions [B, S, W], captions [B, W], texts [B, L, W]; the rest as in Batch."""

    regions: Tensor
    region_mask: Tensor
    captions: Tensor
    texts: Tensor
    caption_concepts: Tensor
    text_concept: Tensor
    archive: Tensor


class _Images(NamedTuple):
    """What texts are compared with; fields as in SegmentMilOutputs."""

    regions: Tensor
    region_mask: Tensor
    archive: Tensor


class _Texts(NamedTuple):
    """What images are compared with: captions, and drawn concepts in one row; owners are image numbers of all ranks."""

    captions: Tensor
    caption_concepts: Tensor
    caption_owner: Tensor
    texts: Tensor
    text_concept: Tensor
    text_owner: Tensor

    @staticmethod
    def of(outputs: SegmentMilOutputs, here: Tensor) -> _Texts:
        """The texts of this rank; `here` are the numbers of its images."""
        return _Texts(outputs.captions, outputs.caption_concepts, here, outputs.texts.flatten(0, 1),
                      outputs.text_concept.flatten()[:, None],
                      here.repeat_interleave(outputs.text_concept.shape[1]))

    def part(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """(concepts, owner, is it a text at all) of the captions (0) or of the drawn concepts (1)."""
        if number == 0:
            return self.caption_concepts, self.caption_owner, torch.ones_like(self.caption_owner, dtype=torch.bool)
        return self.text_concept, self.text_owner, self.text_concept[:, 0] >= 0


class SegmentMil(nn.Module):
    """See the module's docstring."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: SegmentMilConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.region_width))
        self.register_buffer("scale", torch.ones(config.region_width))
        self.dropout = nn.Dropout(config.dropout)
        self.region_head = nn.Sequential(
            nn.Linear(config.region_width, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.width),
        )
        self.text_head = nn.Linear(config.text_width, config.width)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1.0 / config.temperature)))

    def standardise(self, regions: Tensor) -> None:
        """Take mean and standard deviation of the features from a sample [n, F]; kept with the weights."""
        self.mean.copy_(regions.mean(0))
        self.scale.copy_(regions.std(0, correction=0) + 1e-3)

    def forward(self, batch: Batch) -> SegmentMilOutputs:
        """Embed regions, captions and drawn concepts."""
        return SegmentMilOutputs(
            self.embed_regions(batch.regions), batch.region_mask, self.embed_texts(batch.caption_embedding),
            self.embed_texts(batch.text_embedding), batch.caption_concepts, batch.text_concept, batch.archive,
        )

    def embed_regions(self, regions: Tensor) -> Tensor:
        """[B, S, F] -> [B, S, W], L2-normalised."""
        x = (regions - self.mean) / self.scale
        if self.training:
            x = x * self.dropout(torch.ones_like(x[:, :1]))
        return F.normalize(self.region_head(x).float(), dim=-1)

    def embed_texts(self, texts: Tensor) -> Tensor:
        """[.., D] -> [.., W], L2-normalised."""
        return F.normalize(self.text_head(texts).float(), dim=-1)

    def bag_similarity(self, regions: Tensor, mask: Tensor, texts: Tensor) -> Tensor:
        """[B, T]: how well each text fits each image, its cosines with the regions pooled towards their maximum.

        Args:
            regions: [B, S, W], L2-normalised.
            mask: [B, S] bool.
            texts: [T, W], L2-normalised.
        """
        cosine = texts @ regions.transpose(1, 2)  # [B, T, S]
        hidden = cosine.masked_fill(~mask[:, None], -torch.inf)
        if not self.config.pool_temperature:
            return hidden.amax(2)
        return ((hidden / self.config.pool_temperature).softmax(2) * cosine).sum(2)

    def losses(self, outputs: SegmentMilOutputs, gather: Gather = alone, *, rank: int = 0) -> dict[str, Tensor]:
        """Eq. 5 in two parts: `caption` is Eq. 1 + Eq. 2, `concept` Eq. 3 + Eq. 4, each halved as in GroupViT.

        Rows are this rank's images (or texts), columns those of all ranks.
        """
        here = torch.arange(len(outputs.regions), device=outputs.regions.device) + rank * len(outputs.regions)
        local = _Texts.of(outputs, here)
        every = _Texts(*(gather(value) for value in local))
        images = _Images(outputs.regions, outputs.region_mask, outputs.archive)
        all_images = _Images(*(gather(value) for value in images))
        by_image = self._similarities(images, every)
        by_text = by_image if all_images.regions is images.regions else self._similarities(all_images, local)
        losses = {}
        for row, name in enumerate(("caption", "concept")):
            concepts, owner, real = local.part(row)
            all_concepts, all_owner, all_real = every.part(row)
            positive = (here[:, None] == all_owner) & all_real
            to_text = contrastive(
                by_image[row], positive, self._candidates(images.archive, all_concepts) & all_real,
                self.config.multi_label, count=mean_over_ranks(positive.any(1), gather))
            numbers = torch.arange(len(all_images.regions), device=here.device)
            to_image = contrastive(by_text[row].T, (owner[:, None] == numbers) & real[:, None],
                                   self._candidates(all_images.archive, concepts).T,
                                   count=mean_over_ranks(real, gather))
            losses[name] = 0.5 * (to_text + to_image)
        return {"caption": self.config.caption_weight * losses["caption"], "concept": losses["concept"]}

    def _similarities(self, images: _Images, texts: _Texts) -> tuple[Tensor, Tensor]:
        """Logits [B, captions] and [B, drawn concepts]; a concept that was drawn for many images is compared once."""
        scale = self.logit_scale.exp().clamp(max=100.0)
        numbers, inverse = texts.text_concept[:, 0].unique(return_inverse=True)
        first = torch.full_like(numbers, len(inverse)).scatter_reduce(
            0, inverse, torch.arange(len(inverse), device=inverse.device), "amin")
        queries = torch.cat([texts.captions, texts.texts[first]])
        logits = scale * self.bag_similarity(images.regions, images.region_mask, queries)
        return logits[:, : len(texts.captions)], logits[:, len(texts.captions) :][:, inverse]

    def _candidates(self, archive: Tensor, concepts: Tensor) -> Tensor:
        """[Q, K] bool, which texts may stand in the denominators of which images."""
        if not self.config.mask_negatives:
            return torch.ones(len(archive), len(concepts), dtype=torch.bool, device=archive.device)
        return may_be_negative(archive, concepts)

    def region_logits(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """[B, S, C] cosines of regions and classes."""
        return self.embed_regions(inputs.regions) @ self.embed_texts(class_embeddings).T

    def segment(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Mask logits [B, C, height, width]: each pixel has the cosines of its region."""
        logits = self.region_logits(inputs, class_embeddings).transpose(1, 2)  # [B, C, S]
        flat = full_size(inputs).flatten(1)[:, None].expand(-1, logits.shape[1], -1)
        return logits.gather(2, flat).unflatten(2, inputs.size)

    def label(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """See Segmenter: the best class of each region, painted; logits of pixels are never made."""
        best = self.region_logits(inputs, class_embeddings).argmax(2)  # [B, S]
        return best.gather(1, full_size(inputs).flatten(1)).unflatten(1, inputs.size)


def full_size(inputs: Inputs) -> Tensor:
    """[B, height, width] int64 region numbers of the pixels."""
    return F.interpolate(inputs.labels[:, None].float(), size=inputs.size, mode="nearest-exact")[:, 0].long()


def mean_over_ranks(counted: Tensor, gather: Gather) -> Tensor:
    """How many of [n] are True on a rank, as the mean over all ranks; at least one in all."""
    everything = gather(counted)
    return everything.sum().clamp(min=1) * (len(counted) / len(everything))
