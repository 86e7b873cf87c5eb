"""Section `report` of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from captionseg.typed import Count, Device, Natural, Split


@dataclass(frozen=True)
class ReportParams:
    """Section `report` of params.yaml: how much is shown. The run's seed decides which pictures.

    Attributes:
        pictures: number of training pictures with their captions.
        examples: number of training pictures with the concepts of each rule.
        neighbours: number of most similar pictures next to each of those.
        segments: number of pictures with their segments and texts.
        split: split of the pictures on which all recipes are compared.
        scenes: number of those: good, typical and bad ones of the best recipe.
        heat: number of pictures with heat maps of a concept that the caption does not name.
        classes: number of classes with the largest gains and losses of IoU.
        measured: number of training pictures whose segments are compared with the truth, evenly
            spaced; null takes all.
        sheet: number of small pictures on the page of the data.
        concepts: number of most frequent concepts on that page.
        device: device of the recipes' models.
    """

    pictures: Natural = 12
    examples: Natural = 8
    neighbours: Natural = 5
    segments: Natural = 6
    split: Split = "test"
    scenes: Natural = 3
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
