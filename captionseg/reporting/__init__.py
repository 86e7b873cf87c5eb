"""The report of a run: metrics.json, plots, pictures and one page. Nothing here decides anything but the gate."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ReportParams"]


@dataclass(frozen=True)
class ReportParams:
    """Section `report` of params.yaml: how much is shown. Which pictures are shown is drawn from the run's seed.

    Attributes:
        pictures: training pictures with their captions.
        examples: training pictures with what each rule curated for them.
        neighbours: most similar pictures beside each of those.
        segments: pictures with their segments and texts.
        split: whose pictures all recipes are compared on.
        scenes: how many of those.
        heat: pictures with maps of a concept that the caption does not name.
        classes: largest gains and losses of IoU by class.
        measured: training pictures whose segments are compared with the truth, evenly spread; null takes all.
        device: that the recipes' models run on.
    """

    pictures: int = 12
    examples: int = 8
    neighbours: int = 5
    segments: int = 6
    split: str = "test"
    scenes: int = 6
    heat: int = 3
    classes: int = 12
    measured: int | None = 600
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("pictures", "examples", "neighbours", "segments", "scenes", "heat", "classes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, found {getattr(self, name)}")
