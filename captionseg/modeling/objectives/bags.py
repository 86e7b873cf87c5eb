"""Contrastive losses of images as bags of vectors and of texts: Eq. 1-5 of CoCu.

A bag holds the vectors of an image: only its pooled vector (GroupViT as published), its groups, or
its regions. The similarity of a text and an image is that of the most similar vectors. Rows of each
loss are the images (or texts) of this rank, columns those of all ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from captionseg.losses.contrastive import MultiLabel, contrastive_loss, may_be_negative
from captionseg.modeling.objectives.pair_losses import find_unique
from captionseg.modeling.segmenter import Gather, gather_single
from captionseg.runtime.device import full_precision


@dataclass(frozen=True)
class Bags:
    """The embeddings of a batch, all L2-normalised.

    Attributes:
        vectors: S vectors per image.
        mask: False pads.
        captions: one caption per image.
        texts: L drawn concepts per image.
        caption_concepts: as in Batch.
        text_concept: as in Batch.
        archive: as in Batch.
    """

    vectors: Float[Tensor, "B S W"]
    mask: Bool[Tensor, "B S"]
    captions: Float[Tensor, "B W"]
    texts: Float[Tensor, "B L W"]
    caption_concepts: Int[Tensor, "B K"]
    text_concept: Int[Tensor, "B L"]
    archive: Int[Tensor, "B M"]


class Scales(NamedTuple):
    """Inverse temperatures 1 / tau of the two losses."""

    caption: Float[Tensor, ""]
    concept: Float[Tensor, ""]


Part = Literal["caption", "concept"]
PARTS: tuple[Part, ...] = ("caption", "concept")


class _Images(NamedTuple):
    """The images of this rank or of all; fields as in Bags. `number` counts over all ranks."""

    vectors: Tensor
    mask: Tensor
    archive: Tensor
    number: Tensor


class _Part(NamedTuple):
    """The captions or the drawn concepts: [T, K] concepts that a text names, [T] number of its
    image, and [T] whether it is a text at all.
    """

    concepts: Tensor
    owner: Tensor
    valid: Tensor


class _Pairs(NamedTuple):
    """Images [B] and texts [T]: [B, T] logits, which texts belong to an image, and which may be
    its negatives; [T] whether it is a text at all.
    """

    logits: Tensor
    positive: Tensor
    candidate: Tensor
    valid: Tensor


class _Texts(NamedTuple):
    """The captions and the drawn concepts of this rank or of all; owners are numbers of images."""

    captions: Tensor
    caption_concepts: Tensor
    caption_owner: Tensor
    texts: Tensor
    text_concept: Tensor
    text_owner: Tensor

    @staticmethod
    def of(bags: Bags, image_numbers: Tensor) -> _Texts:
        """The texts of this rank, whose images have these numbers."""
        return _Texts(
            bags.captions,
            bags.caption_concepts,
            image_numbers,
            bags.texts.flatten(0, 1),
            bags.text_concept.flatten()[:, None],
            image_numbers.repeat_interleave(bags.text_concept.shape[1]),
        )

    def part(self, number: int) -> _Part:
        """The captions (0) or the drawn concepts (1), in the order of PARTS."""
        if number == 0:
            valid = torch.ones_like(self.caption_owner, dtype=torch.bool)
            return _Part(self.caption_concepts, self.caption_owner, valid)
        return _Part(self.text_concept, self.text_owner, self.text_concept[:, 0] >= 0)


@dataclass(frozen=True)
class BagContrast:
    """Computes the losses of bags.

    Attributes:
        pool_temperature: see SegmentMilConfig.
        multi_label: see SegmentMilConfig.
        mask_negatives: see SegmentMilConfig.
        equal_texts: whether all vectors of a concept in a batch are equal, so that one is compared
            for all. They are not if prompts are drawn at random, or the text encoder has dropout.
    """

    pool_temperature: float = 0.0
    multi_label: MultiLabel = "log_sum"
    mask_negatives: bool = True
    equal_texts: bool = True

    def __call__(
        self,
        bags: Bags,
        scales: Scales,
        gather: Gather = gather_single,
        *,
        rank: int = 0,
        parts: Sequence[Part] = PARTS,
    ) -> dict[str, Tensor]:
        """Eq. 5 of CoCu in two parts: `caption` is Eq. 1 + Eq. 2, `concept` is Eq. 3 + Eq. 4, each
        halved as in GroupViT.

        Args:
            bags: the batch of this rank.
            scales: 1 / tau of the two parts.
            gather: see Gather.
            rank: number of this rank.
            parts: which parts are computed.

        Returns:
            part -> scalar loss of this rank; the mean over ranks is the loss of the whole batch.
        """
        if "concept" not in parts:
            bags = replace(bags, texts=bags.texts[:, :0], text_concept=bags.text_concept[:, :0])
        count = len(bags.vectors)
        numbers = torch.arange(count, device=bags.vectors.device) + rank * count
        texts = _Texts.of(bags, numbers)
        all_texts = _Texts(*(gather(value) for value in texts))
        images = _Images(bags.vectors, bags.mask, bags.archive, numbers)
        all_images = _Images(*(gather(value) for value in images))
        pairs = self._compare(images, all_texts, scales, parts)
        # of one rank, both are the same
        alone = all_images.vectors is images.vectors
        all_pairs = pairs if alone else self._compare(all_images, texts, scales, parts)
        return {
            part: 0.5
            * (
                self._image_to_text(pairs[part], gather)
                + self._text_to_image(all_pairs[part], gather)
            )
            for part in pairs
        }

    def _image_to_text(self, pairs: _Pairs, gather: Gather) -> Tensor:
        """Eq. 1 or Eq. 3: images of this rank [B] against the texts of all ranks [T]."""
        return contrastive_loss(
            pairs.logits,
            pairs.positive,
            pairs.candidate & pairs.valid,
            self.multi_label,
            count=count_per_rank(pairs.positive.any(1), gather),
        )

    def _text_to_image(self, pairs: _Pairs, gather: Gather) -> Tensor:
        """Eq. 2 or Eq. 4: texts of this rank [T] against the images of all ranks [B]."""
        return contrastive_loss(
            pairs.logits.T,
            pairs.positive.T,
            pairs.candidate.T,
            count=count_per_rank(pairs.valid, gather),
        )

    def _compare(
        self, images: _Images, texts: _Texts, scales: Scales, parts: Sequence[Part]
    ) -> dict[Part, _Pairs]:
        """Compare images with the captions and the drawn concepts."""
        logits = self._similarities(images, texts, scales)
        pairs = {}
        for number, name in enumerate(PARTS):
            if name in parts:
                part = texts.part(number)
                positive = (images.number[:, None] == part.owner) & part.valid
                candidate = self._candidates(images.archive, part.concepts)
                pairs[name] = _Pairs(logits[number], positive, candidate, part.valid)
        return pairs

    def _similarities(
        self, images: _Images, texts: _Texts, scales: Scales
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, captions] and [B, drawn concepts]."""
        if not self.equal_texts:
            queries, inverse = (
                torch.cat([texts.captions, texts.texts]),
                torch.arange(len(texts.texts)),
            )
            return self._logits(
                images, queries, inverse.to(queries.device), len(texts.captions), scales
            )
        first, inverse = find_unique(texts.text_concept[:, 0])
        queries = torch.cat([texts.captions, texts.texts[first]])
        return self._logits(images, queries, inverse, len(texts.captions), scales)

    def _logits(
        self, images: _Images, queries: Tensor, inverse: Tensor, count: int, scales: Scales
    ) -> tuple[Tensor, Tensor]:
        """Logits with the first `count` queries, and with those after them at `inverse`."""
        cosine = bag_similarity(images.vectors, images.mask, queries, self.pool_temperature)
        return scales.caption * cosine[:, :count], scales.concept * cosine[:, count:][:, inverse]

    def _candidates(
        self, archive: Int[Tensor, "image held"], concepts: Int[Tensor, "text named"]
    ) -> Bool[Tensor, "image text"]:
        """Which texts may be in the denominators of which images."""
        if not self.mask_negatives:
            return torch.ones(len(archive), len(concepts), dtype=torch.bool, device=archive.device)
        return may_be_negative(archive, concepts)


def bag_similarity(
    vectors: Float[Tensor, "image item embedding"],
    mask: Bool[Tensor, "image item"],
    texts: Float[Tensor, "text embedding"],
    temperature: float,
) -> Float[Tensor, "image text"]:
    """Return the similarity of each text and image: its cosines with the vectors of the bag,
    pooled.

    Args:
        vectors: L2-normalised vectors of bags.
        mask: False pads.
        texts: L2-normalised.
        temperature: of the softmax that weights the cosines; 0 takes their maximum.
    """
    with full_precision(vectors):
        cosine = F.linear(vectors.float(), texts.float())  # [B, S, T]: no copy of the vectors
    if vectors.shape[1] == 1:
        return cosine[:, 0]
    padding = torch.zeros_like(cosine[..., :1]).masked_fill(~mask[..., None], -torch.inf)
    if not temperature:
        return (cosine + padding).amax(1)
    weight = torch.add(padding, cosine, alpha=1.0 / temperature).softmax(1)
    return (weight * cosine).sum(1)


def count_per_rank(counted: Shaped[Tensor, " n"], gather: Gather) -> Float[Tensor, ""]:
    """Return the sum of `counted` over all ranks, at least 1, divided by the number of ranks."""
    gathered = gather(counted)
    return gathered.sum().clamp(min=1) * (len(counted) / len(gathered))
