"""What some segmentation models can do beside the interface of all (`Segmenter`).

A caller asks `isinstance(model, ScoresMasks)`; a model has a capability by having its methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

from captionseg.encoders.encoder import Encoder
from captionseg.model_inputs import Inputs

if TYPE_CHECKING:
    from captionseg.modeling.readout.zero_shot import ZeroShot
    from captionseg.modeling.tcl_config import GroundingChoices

    ZeroShotChoices = ZeroShot | GroundingChoices


@runtime_checkable
class ScoresMasks(Protocol):
    """A model that gives classes to class-agnostic masks, which may overlap."""

    def mask_scores(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """[B, M, C] probabilities of the classes [C, D] for each of `inputs.masks`, or for each
        region where there are none.
        """
        ...


@runtime_checkable
class EmbedsSegments(Protocol):
    """A model with one space for segments and the texts that name them."""

    def embed_inputs(self, inputs: Inputs, masks: Tensor) -> Tensor:
        """[B, M, D], L2-normalised, of masks [B, M, h, w] of the pictures of `inputs`."""
        ...


@runtime_checkable
class EmbedsImages(Protocol):
    """A model that embeds whole pictures itself; see captionseg.inference.classify."""

    def image_logits(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """[B, C] cosines of pictures and classes [C, D]."""
        ...


@runtime_checkable
class EmbedsTexts(Protocol):
    """A model that maps text embeddings into a joint space of its own."""

    def embed_texts(self, texts: Tensor) -> Tensor:
        """[.., D] -> [.., W], L2-normalised."""
        ...


@runtime_checkable
class EncodesTokens(Protocol):
    """A model with a text encoder of its own (`config.reads.tokens`)."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        """[T, D] of token numbers [T, n], 0 pads."""
        ...


@runtime_checkable
class HoldsEncoder(Protocol):
    """A model that runs parts of the frozen encoder, which are not saved with it."""

    def attach(self, encoder: Encoder) -> None:
        """Give it the encoder; before it is used, where `config.reads.holds_encoder` says so."""
        ...


@runtime_checkable
class HasZeroShotChoices(Protocol):
    """A model whose inference has choices, the score of the background among them.

    Its `segment` and `label` take other choices than its own as a third argument.
    """

    @property
    def zero_shot(self) -> ZeroShotChoices:
        """Its own, those of its config."""
        ...

    def segment(
        self, inputs: Inputs, class_embeddings: Tensor, choices: Any | None = None
    ) -> Tensor:
        """See Segmenter; with `choices` in place of its own."""
        ...

    def label(self, inputs: Inputs, class_embeddings: Tensor, choices: Any | None = None) -> Tensor:
        """See Segmenter; with `choices` in place of its own."""
        ...


@runtime_checkable
class HasLateParameters(Protocol):
    """A model of which a part begins to train later than the rest."""

    @property
    def late_from(self) -> float:
        """Share of all steps after which it begins; 0 for at once."""
        ...

    def late_parameters(self) -> list[nn.Parameter]:
        """The part."""
        ...


@runtime_checkable
class CountsInTraining(Protocol):
    """A model that counts something while it trains, for the curve."""

    def take_counts(self) -> dict[str, float]:
        """Name -> number since it was last asked; always the same names, none where it does not
        count. Sums over ranks are told once an epoch.
        """
        ...
