"""Capabilities of some segmentation models, in addition to the interface of all (`Segmenter`).

A model has a capability if it has its methods; callers check `isinstance(model, ScoresMasks)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

from captionseg.encoders.encoder import Encoder
from captionseg.model_inputs import Inputs

if TYPE_CHECKING:
    from captionseg.modeling.readout.zero_shot import ZeroShot
    from captionseg.modeling.sam3 import ConceptChoices
    from captionseg.modeling.tcl_config import GroundingChoices

    ZeroShotChoices = ZeroShot | GroundingChoices | ConceptChoices


@runtime_checkable
class ScoresMasks(Protocol):
    """A model that classifies class-agnostic masks, which may overlap."""

    def mask_scores(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Return the probabilities [B, M, C] of classes [C, D] for each of `inputs.masks`, or for
        each region if there are no masks.
        """
        ...


@runtime_checkable
class ScoresRegions(Protocol):
    """A model whose pixels have the scores of their region, whatever its shape."""

    def region_logits(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Return the scores [B, R, C] of regions and classes [C, D]."""
        ...


@runtime_checkable
class EmbedsSegments(Protocol):
    """A model that embeds segments and the texts that name them in one space."""

    def embed_inputs(self, inputs: Inputs, masks: Tensor) -> Tensor:
        """Embed masks [B, M, h, w] of the pictures of `inputs`: [B, M, D], L2-normalised."""
        ...


@runtime_checkable
class EmbedsImages(Protocol):
    """A model that embeds whole pictures itself; see captionseg.inference.classify."""

    def image_logits(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Return the cosines [B, C] of whole pictures and classes [C, D]."""
        ...


@runtime_checkable
class EmbedsTexts(Protocol):
    """A model that maps frozen text embeddings into its own joint space."""

    def embed_texts(self, texts: Tensor) -> Tensor:
        """Map text embeddings [.., D] to [.., W], L2-normalised."""
        ...


@runtime_checkable
class EncodesTokens(Protocol):
    """A model with its own text encoder (`config.reads.tokens`)."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Encode token numbers [T, n], 0 pads, to [T, D]."""
        ...


@runtime_checkable
class HoldsEncoder(Protocol):
    """A model that runs parts of the frozen encoder; they are not saved with it."""

    def attach(self, encoder: Encoder) -> None:
        """Attach the encoder. Required before use if `config.reads.holds_encoder`."""
        ...


@runtime_checkable
class HasZeroShotChoices(Protocol):
    """A model with options of inference, such as the score of the background.

    Its `segment` and `label` take other options as a third argument.
    """

    @property
    def zero_shot(self) -> ZeroShotChoices:
        """The options of its config."""
        ...

    def segment(
        self, inputs: Inputs, class_embeddings: Tensor, choices: Any | None = None
    ) -> Tensor:
        """See Segmenter; `choices` replaces the options of the config."""
        ...

    def label(self, inputs: Inputs, class_embeddings: Tensor, choices: Any | None = None) -> Tensor:
        """See Segmenter; `choices` replaces the options of the config."""
        ...


@runtime_checkable
class HasLateParameters(Protocol):
    """A model with parameters that are trained later than the rest."""

    @property
    def late_from(self) -> float:
        """Share of all steps after which their training begins, in 0..1."""
        ...

    def late_parameters(self) -> list[nn.Parameter]:
        """Return these parameters."""
        ...


@runtime_checkable
class CountsInTraining(Protocol):
    """A model that counts events in training, for the curve."""

    def take_counts(self) -> dict[str, float]:
        """Return name -> count since the last call, always with the same names.

        It is empty if the model does not count. The fit loop sums the counts over ranks and records
        them once per epoch.
        """
        ...
