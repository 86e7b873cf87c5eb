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
from captionseg.typed import Count, Device, Name, Split

PaperProtocol = Annotated[str, Member(PROTOCOLS)]


@dataclass(frozen=True)
class EvaluateParams:
    """Section `evaluate` of params.yaml.

    Attributes:
        name: of the benchmark in metrics.json; auto is that of the data, the source of section
            `download`.
        split: whose pictures are scored.
        bootstrap: data sets drawn for the interval.
        device: that the models run on.
        windows: how models that read pixels see a picture.
        refine: what is done to mask logits before each pixel takes its best class; null takes what
            the recipe says.
        masks: the segments that models which read segments give classes to; null takes what the
            recipe says.
        max_detections: of a picture and a class, in the precision of masks.
        protocol: of a paper, by its name in captionseg.inference.protocols; windows, refine and
            masks that are given come before its own. null takes prompts and inference that were
            saved with each model.
        also: recipe -> protocols of papers that its models are scored by as well, each by itself
            and as published.
    """

    name: Name = "auto"
    split: Split = "test"
    bootstrap: Count = 1000
    device: Device = "auto"
    windows: WindowParams = field(default_factory=WindowParams)
    refine: RefineParams | None = None
    masks: MasksParams | None = None
    max_detections: Count = 100
    protocol: PaperProtocol | None = None
    also: dict[str, Annotated[tuple[PaperProtocol, ...], Distinct()]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_detections < 1:
            raise ValueError(f"max_detections must be at least 1, found {self.max_detections}")

    def of_source(self, source: str) -> EvaluateParams:
        """The same with the name of the data's source in place of auto.

        Raises:
            ValueError: for the name of another source, under which scores would pass for those of
                other data.
        """
        if self.name in SOURCES and self.name != source:
            raise ValueError(
                f"name: {self.name} is a data source, but download.source is {source}; use auto "
                "or another name"
            )
        return replace(self, name=source) if self.name == "auto" else self

    @property
    def main_protocol(self) -> Protocol:
        """How a whole picture is labelled."""
        protocol = Protocol(self.windows, self.refine, self.masks)
        return merge_with_preset(self.protocol, protocol) if self.protocol else protocol

    def also_by(self, recipe: str) -> dict[str, Protocol]:
        """Those of `also`, by name."""
        blank = Protocol(WindowParams(batch=self.windows.batch), None, None)
        return {name: merge_with_preset(name, blank) for name in self.also.get(recipe, ())}
