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
    """A dataclass of tensors and nested records; None and tuples are not tensors."""

    def map(self: Record, change: Callable[[Tensor], Tensor]) -> Record:
        """Every tensor changed alike: moved to a device, its rows chosen."""
        record: Any = self
        changed = {
            name: value.map(change) if isinstance(value, TensorRecord) else change(value)
            for name, value in vars(record).items()
            if value is not None and not isinstance(value, tuple)
        }
        return dataclasses.replace(record, **changed)


@dataclass(frozen=True)
class Inputs(TensorRecord):
    """What a model segments. B images; S regions, F features a region.

    Attributes:
        regions: frozen features pooled over class-agnostic regions; S is 0 where a model reads
            pixels.
        region_mask: False pads.
        labels: which region each cell of a grid over the image belongs to.
        size: (height, width) of the mask logits wanted, in pixels.
        image: pixels, normalised by ImageNet's mean and deviation; None where nobody needs them.
        dense: frozen features of a grid over the image; None where no model needs them.
        masks: class-agnostic masks on a grid over the image, which may overlap; empty ones pad.
            None where regions take their part.
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
    """Texts of a batch as token numbers: int64, 0 pads.

    Attributes:
        captions: of the images.
        concepts: the drawn concepts, each in a prompt.
        names: their names alone, for models that learn their prompt; else None.
        caption_words: the concept that each token of `captions` belongs to, -1 for none; None where
            the model does not ask.
    """

    captions: Int64[Tensor, "B T"]
    concepts: Int64[Tensor, "B L T1"]
    names: Int64[Tensor, "B L T2"] | None = None
    caption_words: Int64[Tensor, "B T"] | None = None


@dataclass(frozen=True)
class MaskedCaptions(TensorRecord):
    """Captions whose entities are masked, as embeddings or as tokens.

    Attributes:
        target: the concepts behind the masks: of tokens [B, T] that of each masked token, -1
            elsewhere; of embeddings [B, K] those of a caption in order, -1 pads.
        embedding: frozen embeddings of the masked captions; None where the model reads tokens.
        tokens: of the masked captions, 0 pads; None where it reads embeddings.
        answers: tokens of a sentence with the drawn concepts; None likewise.
    """

    target: Int64[Tensor, "B K"]
    embedding: Float[Tensor, "B D"] | None = None
    tokens: Int64[Tensor, "B T"] | None = None
    answers: Int64[Tensor, "B T1"] | None = None


@dataclass(frozen=True)
class NamedSegments(TensorRecord):
    """Segments of a batch, each with a text that was drawn for it in this step.

    Attributes:
        masks: how much of each cell of a grid over the image lies in a segment.
        embedding: frozen embeddings of the texts.
        number: which text that is, equal numbers for equal texts; -1 pads.
        known: all texts that name the segment, -1 pads.
    """

    masks: Float[Tensor, "B S gh gw"]
    embedding: Float[Tensor, "B S D"]
    number: Int64[Tensor, "B S"]
    known: Int64[Tensor, "B S K"]


@dataclass(frozen=True)
class Batch(TensorRecord):
    """What a model trains on. B images, S regions an image, L texts drawn for it, D text and F
    region dimensions.

    Concepts are numbers of the vocabulary; who may be a negative of whom is decided from them after
    all ranks' batches were gathered.

    Attributes:
        regions: frozen features pooled over class-agnostic regions; S is 0 where the model reads
            pixels.
        region_mask: False pads.
        caption_embedding: frozen text embeddings of the captions.
        caption_concepts: concepts that the caption names, -1 pads.
        text_embedding: frozen text embeddings of the concepts drawn in this step.
        text_concept: those concepts, -1 where fewer than L could be drawn.
        archive: concepts that image i may show: they are no negatives of it; -1 pads.
        image: pixels, augmented and normalised; None where the model needs none.
        dense: frozen features of a grid over the image; None likewise.
        tokens: the texts as tokens; None where the model reads embeddings.
        masked: captions with their entities masked; None where the model asks for none.
        segments: with texts; None likewise.
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
