"""The papers' tables, digit by digit (published/*.csv), and our recipes that correspond to them."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from importlib import resources

from captionseg.reporting.comparison.columns import COLUMNS, HOME, LARGEST_OBJECT, OWN_MIOU, Column
from captionseg.reporting.comparison.row_recipes import (
    AGREEMENTS,
    CODES,
    GROUPS,
    LOSSES,
    OBJECTIVES,
    RATIOS,
    USES,
)


@dataclass(frozen=True)
class PaperTable:
    """A paper's table and our numbers for it.

    Attributes:
        file: name in published/, without suffix.
        paper: short name of the paper.
        number: number of the table.
        about: what it shows.
        metric: the metric of its numbers.
        own: additional columns for our own pictures.
        recipes: our corresponding recipes; with `pairs` one per row, in order.
        pairs: whether our numbers are in the paper's rows, as in an ablation, or below them.
        run: the experiment whose results are preferred.
        notes: notes on the paper and its transcription.
    """

    file: str
    paper: str
    number: str
    about: str
    recipes: tuple[str, ...]
    metric: str = "mIoU"
    own: tuple[Column, ...] = (OWN_MIOU,)
    pairs: bool = False
    run: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The paper's rows, as printed."""
        source = (
            resources.files("captionseg.reporting.comparison") / "published" / f"{self.file}.csv"
        )
        return list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))

    @property
    def words(self) -> list[str]:
        """Names of the columns that describe a row."""
        return [name for name in self.rows[0] if name not in COLUMNS]

    @property
    def columns(self) -> dict[str, Column]:
        """The columns with numbers, by name."""
        return {name: COLUMNS[name] for name in self.rows[0] if name in COLUMNS}


_DAGGER = "† is GroupViT as trained by the paper's authors."
_ILLEGIBLE = "? is illegible in our copy of the paper"

TABLES = (
    PaperTable(
        "cocu_1",
        "CoCu",
        "1",
        "zero-shot methods",
        ("none-maskclip", *GROUPS, "cocu_calibrated-mil"),
        notes=(
            _DAGGER,
            "The mean of the first MaskCLIP row's eight numbers is 16.2; the paper prints 15.0.",
        ),
    ),
    PaperTable(
        "cocu_2",
        "CoCu",
        "2",
        "pre-training data",
        GROUPS,
        notes=(
            _DAGGER,
            "C12* is half of C12; there the paper gives the gain of 34.1 over 32.9 as 1.4. Our "
            "recipes here are of one data size; the next table has others.",
        ),
    ),
    PaperTable(
        "cocu_3",
        "CoCu",
        "3",
        "ablation of curation",
        ("nouns-mil", "caption_retrieval-mil", "cocu_naive-mil", "cocu_ranked-mil", "cocu-mil"),
        pairs=True,
        run="ablation",
        metric="Mean mIoU of eight data sets",
        own=(OWN_MIOU, Column("gain", HOME, "gain")),
    ),
    PaperTable(
        "cocu_4",
        "CoCu",
        "4",
        "zero-shot classification, ImageNet-1k",
        (*GROUPS, "cocu_calibrated-mil"),
        metric="Accuracy",
        own=(
            Column("own pictures, acc@1", LARGEST_OBJECT, "acc1"),
            Column("own pictures, acc@5", LARGEST_OBJECT, "acc5"),
        ),
        notes=(
            "The paper gives the gain of 38.4 over 34.9 as 4.5. The right class of our own "
            "pictures is that of their largest object, among all objects of the data.",
        ),
    ),
    PaperTable(
        "ovsegmentor_1",
        "OVSegmentor",
        "1",
        "comparison with existing methods",
        ("nouns-groupvit", "entities-ovsegmentor", "cocu-ovsegmentor"),
        run="groups",
        notes=(
            "* was trained by the authors of OVSegmentor. † has 133 classes, all others have 80. "
            "Rows that are not zero-shot were fine-tuned on the data set.",
        ),
    ),
    PaperTable(
        "ovsegmentor_2",
        "OVSegmentor",
        "2",
        "unseen classes of zero-shot segmentation",
        ("nouns-groupvit", "entities-ovsegmentor", "cocu-ovsegmentor"),
        metric="Mean IoU of the classes",
        own=(),
        run="groups",
        notes=(
            "The classes are potted plant, sheep, sofa, train and TV monitor of VOC, and cow, "
            "motorbike, sofa and cat of Context. * was trained by the authors of OVSegmentor. † "
            "has other classes. Our cells are means over the same classes of a score on VOC or "
            "Context.",
        ),
    ),
    PaperTable(
        "ovsegmentor_3",
        "OVSegmentor",
        "3",
        "ablation of losses",
        LOSSES,
        pairs=True,
        run="ovsegmentor_losses",
    ),
    PaperTable(
        "ovsegmentor_4",
        "OVSegmentor",
        "4",
        "what is masked and asked for",
        OBJECTIVES,
        pairs=True,
        run="ovsegmentor_objectives",
        notes=("All without the mask loss.",),
    ),
    PaperTable(
        "ovsegmentor_5",
        "OVSegmentor",
        "5",
        "number of groups, and the share that the mask loss compares",
        RATIOS,
        pairs=True,
        run="ovsegmentor_groups",
        notes=(f"{_ILLEGIBLE}; 8 groups and a half are the default, 53.8 in Table 3.",),
    ),
    PaperTable(
        "ovsegmentor_6",
        "OVSegmentor",
        "6",
        "what pictures of one entity agree about",
        AGREEMENTS,
        pairs=True,
        run="ovsegmentor_consistency",
        notes=(f"{_ILLEGIBLE}; its text says that masks are better.",),
    ),
    PaperTable(
        "ovsegmentor_7",
        "OVSegmentor",
        "7",
        "seen and unseen classes",
        ("nouns-mil", "cocu-mil", "nouns-groupvit", "entities-ovsegmentor", "cocu-ovsegmentor"),
        run="groups",
        own=(
            Column("own pictures, seen", HOME, "miou_seen"),
            Column("own pictures, unseen", HOME, "miou_unseen"),
        ),
        notes=(
            "Seen classes are those that training texts name: on our pictures nearly all (for "
            "nouns-mil and cocu-mil all but toucan), so our unseen column covers single classes. "
            f"{_ILLEGIBLE}. Our evaluation does not separate seen and unseen classes on published "
            "benchmarks.",
        ),
    ),
    PaperTable(
        "code_1",
        "CoDe",
        "4.1",
        "text-supervised methods",
        ("none-maskclip", "captions-tcl", "nouns-code", "cocu-code", "cocu-mil"),
        run="frozen",
    ),
    PaperTable(
        "code_2",
        "CoDe",
        "4.2",
        "ablation of parts",
        CODES,
        pairs=True,
        run="code_parts",
        notes=("C: co-decomposition; W: word highlighting prompt; R: region highlighting prompt.",),
    ),
    PaperTable(
        "use_2",
        "USE",
        "2",
        "open-vocabulary semantic segmentation",
        USES,
        notes=(
            "† includes all segments with texts of COCO's pictures, also those from annotations of "
            "Visual Genome.",
        ),
    ),
    PaperTable(
        "use_3",
        "USE",
        "3",
        "parts, PartImageNet",
        USES,
        metric="Mask mAP",
        own=(
            Column("own pictures, mask mAP", HOME, "mask_map"),
            Column("mAP at .5", HOME, "mask_map_50"),
            Column("mAP at .75", HOME, "mask_map_75"),
        ),
        notes=("Our numbers are for masks of whole things, not of parts.",),
    ),
)
