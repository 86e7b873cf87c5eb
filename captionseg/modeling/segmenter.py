"""The one interface of every segmentation model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor

from captionseg.encoders.dense_head import HeadConfig
from captionseg.encoders.text_space import TextSpace
from captionseg.model_inputs import Batch, Inputs

Gather = Callable[[Tensor], Tensor]
"""[B, ...] of this rank -> [W*B, ...] of all ranks, this rank's part with gradient, in rank order.
"""


def gather_single(tensor: Tensor) -> Tensor:
    """The gather of a single rank: itself."""
    return tensor


Masking = Literal["all", "one", "nouns"]
"""Which words of captions are masked: the entities, the first of them, or all nouns."""

TextKind = Literal["phrase", "expression", "concept"]
"""Texts of segments: noun phrases and referring expressions of captions, curated concepts."""


@dataclass(frozen=True)
class InputSpec:
    """What a model reads of a Batch and of Inputs.

    Attributes:
        picture: side of the square training pictures; 0 reads no pixels.
        dense: frozen features of a grid. Without pixels and dense features a model reads pooled
            features of regions.
        live: whether the pictures go through the frozen encoder.
        tokens: encoding that texts come in; None takes the embeddings of the frozen encoder,
            `frozen` its own tokens.
        tokenizer: folder that it is loaded from; empty takes the packaged one.
        context: longest text in tokens.
        masking: which words of captions are masked; None asks for no masked captions.
        words: whether it asks which concept each token of a caption belongs to.
        segments: at most so many segments with texts of a picture in a step, beside dense features
            or crops of pictures; 0 reads none. Such a model looks at where class-agnostic regions
            lie when it segments.
        kinds: of texts that segments are learnt from; a segment that none of them names is left
            out.
        prompts: template set that texts of segments are put into.
        cells: along the side of a crop, of the grid that masks of its segments come on.
    """

    picture: int = 0
    dense: bool = False
    live: bool = False
    tokens: Literal["clip", "bert", "frozen"] | None = None
    tokenizer: str = ""
    context: int = 77
    masking: Masking | None = None
    words: bool = False
    segments: int = 0
    kinds: tuple[TextKind, ...] = ()
    prompts: str = "segment"
    cells: int = 0

    @property
    def windows(self) -> bool:
        """Whether it sees a large picture window by window; one that looks at segments sees it
        whole.
        """
        return self.picture > 0 and not self.segments

    @property
    def regions(self) -> bool:
        """Whether it reads pooled features of regions."""
        return not self.picture and not self.dense

    @property
    def labels(self) -> bool:
        """Whether it asks where regions lie when it segments."""
        return self.regions or self.segments > 0

    @property
    def holds_encoder(self) -> bool:
        """Whether the frozen encoder is part of it, see HoldsEncoder."""
        return self.live or self.tokens == "frozen"

    @property
    def space(self) -> bool:
        """Whether it trains beside the frozen encoder, whose features or texts of segments it
        reads.
        """
        return self.dense or self.holds_encoder or self.segments > 0

    @property
    def encoder(self) -> bool:
        """Whether a frozen encoder is needed at all; not by a model with both towers of its own."""
        return self.holds_encoder or not self.picture or self.tokens is None


@dataclass(frozen=True)
class Sizes:
    """What a config takes from the data, where it leaves it open.

    Attributes:
        regions: F, features of a region.
        texts: D of the text embeddings.
        concepts: C, how many the vocabulary has.
        words: W, of the frozen encoder's token embeddings.
        head: of its dense features.
    """

    regions: int = 0
    texts: int = 0
    concepts: int = 0
    words: int = 0
    head: HeadConfig = field(default_factory=HeadConfig)


@dataclass(frozen=True)
class Start:
    """What a fresh model may take from the data.

    Attributes:
        regions: [n, F] a sample of region features.
        space: the frozen encoder; None where the model reads only what was made with it.
    """

    regions: Tensor
    space: TextSpace | None = None


class Segmenter(Protocol):
    """A trainable open-vocabulary segmentation model; `config.reads` says what it reads.

    What only some models can do is in captionseg.modeling.capabilities.
    """

    config: Any

    def start(self, given: Start) -> None:
        """Before training: take what the data know, and weights that the config names."""
        ...

    def __call__(self, batch: Batch) -> Any:
        """Everything that the losses need, as a dataclass of tensors."""
        ...

    def losses(
        self, outputs: Any, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Named scalars; the loss is their sum. `rank` says which part of a gathered tensor is this
        rank's.
        """
        ...

    def segment(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Mask logits [B, C, height, width] for embeddings [C, D] of the class prompts, frozen or
        of `encode_text`.

        With a background threshold (see ZeroShot) there is a first channel more: the background.
        """
        ...

    def label(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """[B, height, width] int64: the class of the largest logit, -1 for background, by the
        shortest way.
        """
        ...
