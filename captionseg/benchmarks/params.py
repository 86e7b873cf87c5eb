"""Section `evaluate` of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from captionseg.constraints import Distinct, Member
from captionseg.inference.protocols import PROTOCOLS, merge_with_preset
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Protocol, WindowParams
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.sources.sources import SOURCES
from captionseg.typed import Count, Device, Name, Share, Split

PaperProtocol = Annotated[str, Member(PROTOCOLS)]


@dataclass(frozen=True)
class EvaluateParams:
    """Section `evaluate` of params.yaml.

    Attributes:
        name: name of the benchmark in metrics.json; auto is the source of section `download`.
        split: split that is scored.
        bootstrap: number of bootstrap samples for the interval.
        device: auto, cpu, cuda or cuda:N.
        windows: windows of models that read pixels.
        refine: refinement of mask logits; null takes that of the recipe.
        masks: segments of models that read segments; null takes those of the recipe.
        contrast: share of each class's mean over a picture that is taken from its scores; for
            classes that are all in every picture, see captionseg.inference.contrast.
        max_detections: maximum number of detections per picture and class, for mask precision.
        protocol: key of captionseg.inference.protocols.PROTOCOLS, a paper's protocol; windows,
            refine and masks above override it. null takes the prompts and the inference saved with
            each model.
        also: recipe -> papers' protocols by which its models are scored additionally.
    """

    name: Name = "auto"
    split: Split = "test"
    bootstrap: Count = 1000
    device: Device = "auto"
    windows: WindowParams = field(default_factory=WindowParams)
    refine: RefineParams | None = None
    masks: MasksParams | None = None
    contrast: Share = 0.0
    max_detections: Count = 100
    protocol: PaperProtocol | None = None
    also: dict[str, Annotated[tuple[PaperProtocol, ...], Distinct()]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_detections < 1:
            raise ValueError(f"max_detections must be at least 1, found {self.max_detections}")

    def of_source(self, source: str) -> EvaluateParams:
        """Replace the name auto by the name of the data's source.

        Raises:
            ValueError: for the name of another source, which would be misleading.
        """
        if self.name in SOURCES and self.name != source:
            raise ValueError(
                f"name: {self.name} is a data source, but download.source is {source}; use auto "
                "or another name"
            )
        return replace(self, name=source) if self.name == "auto" else self

    @property
    def main_protocol(self) -> Protocol:
        """The protocol of the main scores."""
        protocol = Protocol(self.windows, self.refine, self.masks, self.contrast)
        return merge_with_preset(self.protocol, protocol) if self.protocol else protocol

    def also_by(self, recipe: str) -> dict[str, Protocol]:
        """Return the additional protocols of a recipe, by name."""
        blank = Protocol(WindowParams(batch=self.windows.batch), None, None)
        return {name: merge_with_preset(name, blank) for name in self.also.get(recipe, ())}
