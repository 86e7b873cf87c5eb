"""The tensors that models read: a Batch in training, Inputs for segmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from jaxtyping import Bool, Float, Int, Int64, Integer

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # torch takes long to import, and not every importer needs it

Record = TypeVar("Record", bound="TensorRecord")


class TensorRecord:
    """A dataclass of tensors, nested records, None and tuples."""

    def map(self: Record, change: Callable[[Tensor], Tensor]) -> Record:
        """Apply a function to all tensors, for example to move them to a device."""
        record: Any = self
        changed = {
            name: value.map(change) if isinstance(value, TensorRecord) else change(value)
            for name, value in vars(record).items()
            if value is not None and not isinstance(value, tuple)
        }
        return dataclasses.replace(record, **changed)


@dataclass(frozen=True)
class Inputs(TensorRecord):
    """Inputs of segmentation, for B images with S regions of F features each.

    Attributes:
        regions: frozen features pooled over class-agnostic regions; S is 0 if the model reads
            pixels.
        region_mask: False pads.
        labels: the region of each cell of a grid over the image.
        size: (height, width) of the mask logits in pixels.
        image: pixels, normalised by ImageNet's mean and deviation; None if they are not needed.
        dense: frozen features on a grid over the image; None if they are not needed.
        masks: class-agnostic masks on a grid over the image, which may overlap; empty ones pad.
            None means that regions are classified.
    """

    regions: Float[Tensor, "B S F"]
    region_mask: Bool[Tensor, "B S"]
    labels: Integer[Tensor, "B h w"]
    size: tuple[int, int]
    image: Float[Tensor, "B 3 H W"] | None = None
    dense: Float[Tensor, "B gh gw E"] | None = None
    masks: Bool[Tensor, "B M mh mw"] | None = None


@dataclass(frozen=True)
class Tokens(TensorRecord):
    """Texts of a batch as token numbers; 0 pads.

    Attributes:
        captions: captions of the images.
        concepts: the drawn concepts, each in a prompt.
        names: their names alone, for models with a learnt prompt; else None.
        caption_words: the concept that each token of `captions` belongs to, -1 for none; None if
            the model does not read it.
    """

    captions: Int64[Tensor, "B T"]
    concepts: Int64[Tensor, "B L T1"]
    names: Int64[Tensor, "B L T2"] | None = None
    caption_words: Int64[Tensor, "B T"] | None = None


@dataclass(frozen=True)
class MaskedCaptions(TensorRecord):
    """Captions whose entities are masked, as embeddings or as tokens.

    Attributes:
        target: the concepts behind the masks. With tokens, [B, T]: the concept of each masked
            token, -1 elsewhere. With embeddings, [B, K]: the concepts of a caption in order, -1
            pads.
        embedding: frozen embeddings of the masked captions; None if the model reads tokens.
        tokens: masked captions, 0 pads; None if the model reads embeddings.
        answers: sentences with the masked concepts, 0 pads; None if the model reads embeddings.
        asked: the concepts that `answers` name, -1 pads; None if the model reads embeddings.
    """

    target: Int64[Tensor, "B K"]
    embedding: Float[Tensor, "B D"] | None = None
    tokens: Int64[Tensor, "B T"] | None = None
    answers: Int64[Tensor, "B T1"] | None = None
    asked: Int64[Tensor, "B K1"] | None = None


@dataclass(frozen=True)
class NamedSegments(TensorRecord):
    """Segments of a batch, each with a text that was drawn for it in this step.

    Attributes:
        masks: share of each cell of a grid over the image that lies in a segment.
        embedding: frozen embeddings of the texts.
        number: number of the text, the same for equal texts; -1 pads.
        known: numbers of all texts that name the segment, -1 pads.
    """

    masks: Float[Tensor, "B S gh gw"]
    embedding: Float[Tensor, "B S D"]
    number: Int64[Tensor, "B S"]
    known: Int64[Tensor, "B S K"]


@dataclass(frozen=True)
class Batch(TensorRecord):
    """A training batch of B images, with S regions and L drawn texts each.

    D is the width of text embeddings, F the number of features of a region. Concepts are numbers of
    the vocabulary. They determine the negatives, after the batches of all ranks are gathered.

    Attributes:
        regions: frozen features pooled over class-agnostic regions; S is 0 if the model reads
            pixels.
        region_mask: False pads.
        caption_embedding: frozen text embeddings of the captions.
        caption_concepts: concepts that the caption names, -1 pads.
        text_embedding: frozen text embeddings of the concepts drawn in this step.
        text_concept: the drawn concepts, -1 pads.
        archive: concepts that the image may show, so that they are no negatives of it; -1 pads.
        image: pixels, augmented and normalised; None if the model does not read them.
        dense: frozen features on a grid over the image; None if the model does not read them.
        tokens: texts as tokens; None if the model reads embeddings.
        masked: captions with masked entities; None if the model does not read them.
        segments: segments with texts; None if the model does not read them.
    """

    regions: Float[Tensor, "B S F"]
    region_mask: Bool[Tensor, "B S"]
    caption_embedding: Float[Tensor, "B D"]
    caption_concepts: Int[Tensor, "B K"]
    text_embedding: Float[Tensor, "B L D"]
    text_concept: Int[Tensor, "B L"]
    archive: Int[Tensor, "B M"]
    image: Float[Tensor, "B 3 H W"] | None = None
    dense: Float[Tensor, "B gh gw E"] | None = None
    tokens: Tokens | None = None
    masked: MaskedCaptions | None = None
    segments: NamedSegments | None = None
