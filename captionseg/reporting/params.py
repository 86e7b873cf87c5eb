"""Section `report` of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from captionseg.typed import Count, Device, Natural, Split


@dataclass(frozen=True)
class ReportParams:
    """Section `report` of params.yaml: how much is shown. Which pictures are shown is drawn from
    the run's seed.

    Attributes:
        pictures: training pictures with their captions.
        examples: training pictures with what each rule curated for them.
        neighbours: most similar pictures beside each of those.
        segments: pictures with their segments and texts.
        split: whose pictures all recipes are compared on.
        scenes: how many of those.
        heat: pictures with maps of a concept that the caption does not name.
        classes: largest gains and losses of IoU by class.
        measured: training pictures whose segments are compared with the truth, evenly spread; null
            takes all.
        sheet: small pictures of the page of the data.
        concepts: most frequent concepts of that page.
        device: that the recipes' models run on.
    """

    pictures: Natural = 12
    examples: Natural = 8
    neighbours: Natural = 5
    segments: Natural = 6
    split: Split = "test"
    scenes: Natural = 6
    heat: Natural = 3
    classes: Natural = 12
    measured: Count | None = 600
    sheet: Natural = 36
    concepts: Natural = 30
    device: Device = "auto"

    def __post_init__(self) -> None:
        for name in ("pictures", "examples", "neighbours", "segments", "scenes", "heat", "classes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, found {getattr(self, name)}")
