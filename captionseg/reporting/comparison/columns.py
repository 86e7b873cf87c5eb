"""Columns of the papers' tables, and which of our numbers belong in them."""

from __future__ import annotations

from typing import NamedTuple

HOME = ""
"""Stands for the run's own test pictures as a benchmark."""
LARGEST_OBJECT = "largest_object"
"""The benchmark of the run's own pictures by the class of their largest object."""
OF_CLASS = "class: "
"""Prefix of the score of a single class, or of the mean over classes with a comma between them."""


class Column(NamedTuple):
    """A column, and which of our numbers belong in it.

    Attributes:
        title: heading.
        benchmark: HOME, a benchmark of `captionseg evaluate`, or None if we have no such number.
        score: its name in `scores`, or OF_CLASS and one or more classes.
    """

    title: str
    benchmark: str | None
    score: str = "miou"


AVERAGE = Column("average", None, "average")
COLUMNS = {
    "voc": Column("VOC", "voc"),
    "context": Column("Context", "context"),
    "coco_object": Column("COCO-Object", "coco_object"),
    "imagenet_s50": Column("ImageNet-S-50", "imagenet_s50"),
    "imagenet_s300": Column("ImageNet-S-300", "imagenet_s300"),
    "cityscapes": Column("Cityscapes", "cityscapes"),
    "ade20k": Column("ADE20K", "ade20k"),
    "coco_stuff": Column("COCO-Stuff", "coco_stuff"),
    "ade847": Column("ADE-847", "ade20k_full"),
    "context59": Column("Context-59", "context59"),
    "context459": Column("Context-459", "context459"),
    "average": AVERAGE,
    "gain": Column("gain", None),
    "acc1": Column("acc@1", "imagenet", "acc1"),
    "acc5": Column("acc@5", "imagenet", "acc5"),
    **{
        f"{name}_{kind}": Column(f"{title}, {kind}", name, f"miou_{kind}")
        for kind in ("seen", "unseen")
        for name, title in (
            ("voc", "VOC"),
            ("coco_object", "COCO"),
            ("context", "Context"),
            ("ade20k", "ADE20K"),
        )
    },
    "voc_five": Column("VOC, 5 classes", "voc", f"{OF_CLASS}plant, sheep, sofa, train, monitor"),
    "context_four": Column("Context, 4 classes", "context", f"{OF_CLASS}cow, motorbike, sofa, cat"),
    "all": Column("all 40 parts", "part_imagenet", "map"),
    **{
        part: Column(
            f"quadruped's {part}" if part == "head" else part,
            "part_imagenet",
            f"{OF_CLASS}quadruped {part}",
        )
        for part in ("head", "body", "foot", "tail")
    },
}
"""Columns with numbers; all others describe the row."""

OWN_MIOU = Column("own pictures", HOME)
