"""The interface of all segmentation models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor

from captionseg.encoders.dense_head import HeadConfig
from captionseg.encoders.text_space import TextSpace
from captionseg.model_inputs import Batch, Inputs

Gather = Callable[[Tensor], Tensor]
"""Concatenates the tensors [B, ...] of all W ranks to [W*B, ...], in rank order; gradients flow to
this rank's part.
"""


def gather_single(tensor: Tensor) -> Tensor:
    """Return a tensor of any shape unchanged: the gather of a single rank."""
    return tensor


Masking = Literal["all", "one", "nouns"]
"""Which words of captions are masked: all entities, only the first, or all nouns."""

TextKind = Literal["phrase", "expression", "concept"]
"""Kinds of texts that name segments: noun phrases and referring expressions of captions, and
curated concepts.
"""


@dataclass(frozen=True)
class InputSpec:
    """What a model reads of a Batch and of Inputs.

    A model that reads neither pixels nor dense features reads pooled features of regions.

    Attributes:
        picture: side of the square training pictures in pixels; 0 reads no pixels.
        dense: whether it reads frozen dense features.
        live: whether the pictures go through the frozen encoder.
        attention: whether the attention of its last block is replaced, see AttendingEncoder.
        tokens: tokenizer of its texts; `frozen` is that of the frozen encoder, `checkpoint` that of
            a folder of transformers. None reads the embeddings of the frozen encoder instead.
        tokenizer: folder of the tokenizer; empty takes the packaged one.
        bare: whether the names of classes are its prompts as they are, without a template.
        whole: whether it segments a picture whole, although it reads pixels.
        context: maximum length of a text in tokens.
        masking: which words of captions are masked; None reads no masked captions.
        words: whether it reads which concept each token of a caption belongs to.
        segments: maximum number of segments with texts per picture and step; 0 reads none. A model
            that reads segments also reads class-agnostic regions when it segments.
        kinds: kinds of texts that segments are trained on; segments without such a text are left
            out.
        prompts: template set for texts of segments.
        cells: number of cells along the side of a crop, for masks of its segments.
        alignment: whether it starts from the frozen encoder's map of dense features to the space of
            texts.
    """

    picture: int = 0
    dense: bool = False
    live: bool = False
    attention: bool = False
    tokens: Literal["clip", "bert", "frozen", "checkpoint"] | None = None
    tokenizer: str = ""
    bare: bool = False
    whole: bool = False
    context: int = 77
    masking: Masking | None = None
    words: bool = False
    segments: int = 0
    kinds: tuple[TextKind, ...] = ()
    prompts: str = "segment"
    cells: int = 0
    alignment: bool = False

    @property
    def windows(self) -> bool:
        """Whether it segments a picture window by window; models that read segments do not."""
        return self.picture > 0 and not self.segments and not self.whole

    @property
    def regions(self) -> bool:
        """Whether it reads pooled features of regions."""
        return not self.picture and not self.dense

    @property
    def labels(self) -> bool:
        """Whether it reads labels of regions when it segments."""
        return self.regions or self.segments > 0

    @property
    def holds_encoder(self) -> bool:
        """Whether it runs parts of the frozen encoder, see HoldsEncoder."""
        return self.live or self.tokens == "frozen"

    @property
    def space(self) -> bool:
        """Whether its training needs the frozen encoder: for dense features, texts of segments, as
        a part of the model, or to start from its alignment.
        """
        return self.dense or self.holds_encoder or self.segments > 0 or self.alignment

    @property
    def encoder(self) -> bool:
        """Whether it needs a frozen encoder; a model with image and text encoders of its own does
        not.
        """
        return self.holds_encoder or not self.picture or self.tokens is None


@dataclass(frozen=True)
class Sizes:
    """Sizes of the data, for configs in which a width is 0.

    Attributes:
        regions: F, number of features of a region.
        texts: D, width of the frozen text embeddings.
        concepts: C, size of the vocabulary.
        words: W, width of the frozen encoder's token embeddings.
        head: head of its dense features.
    """

    regions: int = 0
    texts: int = 0
    concepts: int = 0
    words: int = 0
    head: HeadConfig = field(default_factory=HeadConfig)


@dataclass(frozen=True)
class Start:
    """Data that a new model is initialised from.

    Attributes:
        regions: [n, F] a sample of region features.
        space: the frozen encoder; None if the model reads only its stored outputs.
        concepts: [C, D] frozen embeddings of all concepts, each in a prompt; None if there are
            none.
    """

    regions: Tensor
    space: TextSpace | None = None
    concepts: Tensor | None = None


class Segmenter(Protocol):
    """A trainable open-vocabulary segmentation model; `config.reads` says what it reads.

    Capabilities of only some models are in captionseg.modeling.capabilities.
    """

    config: Any

    def start(self, data: Start) -> None:
        """Initialise a new model from the data, and from the weights that its config names."""
        ...

    def __call__(self, batch: Batch) -> Any:
        """Return what the losses need, as a dataclass or a tuple of tensors."""
        ...

    def losses(
        self, outputs: Any, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return the named terms of the loss, scalars; the loss is their sum.

        Args:
            outputs: result of the call.
            gather: see Gather.
            rank: number of this rank, whose part of a gathered tensor is
                [rank * B:(rank + 1) * B].
        """
        ...

    def segment(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Return mask logits [B, C, height, width].

        With a background threshold (see ZeroShot) there is an additional first channel, the
        background.

        Args:
            inputs: B pictures.
            class_embeddings: [C, D] of the class prompts, frozen or of `encode_text`.
        """
        ...

    def label(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Return the class with the largest logit of each pixel, [B, height, width] int64; -1 is
        the background. Arguments as of `segment`, whose argmax may be computed faster.
        """
        ...
