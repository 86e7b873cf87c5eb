"""A small folder of reports, written by hand: two recipes, two experiments, one published
benchmark.
"""

import json

import pytest
from PIL import Image

from captionseg.recipes import Recipe
from captionseg.reporting.comparison.score_files import Folders

RECIPES = {
    "nouns-mil": Recipe("nouns", "nouns", about="The baseline."),
    "cocu_control-mil": Recipe("nouns", "cocu"),
    "cocu-mil": Recipe("cocu", "cocu"),
}
OWN = {"prompts": "simple", "refine": "none"}
TCL = {
    "prompts": "tcl",
    "refine": "pamr",
    "name": "tcl",
    "skipped": ["windows: it sees a picture whole"],
}


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def scores(miou, **more):
    return {
        "miou": miou,
        "miou_low": miou - 1,
        "miou_high": miou + 1,
        "miou_std": 0.5,
        "pixel_accuracy": 40.0,
        **more,
    }


def evaluation(miou, **more):
    return {
        "benchmark": "own",
        "scores": scores(miou),
        "per_class": {"cat": miou, "dog": 0.25},
        "protocol": OWN,
        "seeds": {"0": miou - 0.5, "1": miou + 0.5},
        **more,
    }


def curves(*recipes):
    rows = ["recipe,seed,step,loss,tune_miou"]
    for number, recipe in enumerate(recipes):
        for seed in (0, 1):
            rows += [
                f"{recipe},{seed},{step},{9 - step + seed},{20 + number * 5 + step if step % 2 else ''}"  # noqa: E501
                for step in range(4)
            ]
    return "\n".join(rows) + "\n"


def experiment(root, name, recipes, mious):
    folder = root / "experiments" / name
    said = {
        r: {"curation": c, "archive": c, "model": model, "about": "", "settings": {}}
        for r, (c, model) in recipes.items()
    }
    write(folder / "experiment.json", {"name": name, "about": f"About {name}.", "recipes": said})
    metrics = {r: {"own": scores(m), "train": {"loss": 1.0}} for r, m in mious.items()}
    write(folder / "metrics.json", {"recipes": metrics})
    for recipe, miou in mious.items():
        write(folder / "recipes" / f"{recipe}.json", evaluation(miou))
    write(folder / "curves.csv", curves(*recipes))


def write_reports(root):
    """Everything that the comparison may find."""
    paired = {"miou": 3.5, "low": 2.25, "high": 4.5, "better": 0.998}
    own = {
        "nouns-mil": scores(20.0, boundary_f=30.0),
        "cocu_control-mil": scores(22.0),
        "cocu-mil": scores(23.5, over_baseline=paired, miou_seen=24.0, miou_unseen=11.0),
    }
    metrics = {r: {"own": s, "train": {"loss": 1.0}} for r, s in own.items()}
    metrics["cocu-mil"]["own@tcl"] = scores(26.0)
    metrics["nouns-mil"]["own@tcl"] = scores(21.0)
    write(root / "metrics.json", {"data": {"pairs": 3600}, "recipes": metrics})
    for recipe, values in own.items():
        also = {"tcl": {**evaluation(values["miou"] + 1), "protocol": TCL}}
        write(root / "recipes" / f"{recipe}.json", evaluation(values["miou"], also=also))
    write(root / "plots" / "curves.csv", curves(*RECIPES))
    (root / "pictures").mkdir()
    Image.new("RGB", (90, 40)).save(root / "pictures" / "overlays.jpg")
    mil = {r: (r.split("-")[0], "segment_mil") for r in ("nouns-mil", "cocu_naive-mil", "cocu-mil")}
    experiment(
        root, "ablation", mil, {"nouns-mil": 20.0, "cocu_naive-mil": 21.5, "cocu-mil": 23.25}
    )
    experiment(
        root,
        "groups",
        {"nouns-groupvit": ("nouns", "groupvit"), "cocu-groupvit": ("cocu", "groupvit")},
        {"nouns-groupvit": 18.0, "cocu-groupvit": 17.0},
    )
    write(
        root / "benchmarks" / "cocu-mil" / "voc.json",
        {**evaluation(12.5), "title": "Pascal VOC 2012", "pictures": {"scored": 1449, "of": 1449}},
    )
    write(
        root / "benchmarks" / "cocu-mil" / "imagenet.json",
        {
            "scores": {"acc1": 2.5, "acc5": 7.25, "acc1_low": 2.25, "acc1_high": 2.75},
            "protocol": OWN,
            "title": "ImageNet-1k",
        },
    )
    for name in ("experiments", "benchmarks"):
        write(root / name / "README.md", "What this is.\n")
    return folders_of(root)


def write_least(root):
    """A run without scores, experiments and benchmarks."""
    write(
        root / "metrics.json",
        {"data": {"pairs": 3}, "recipes": {"nouns-mil": {"train": {"loss": 1.0}}}},
    )
    for name in ("recipes", "plots", "pictures", "experiments", "benchmarks"):
        (root / name).mkdir(parents=True)
    return folders_of(root)


def folders_of(root):
    names = ("recipes", "plots", "pictures", "experiments", "benchmarks")
    return Folders(root / "metrics.json", *(root / name for name in names))


@pytest.fixture
def recipes():
    return dict(RECIPES)


@pytest.fixture
def reports(tmp_path):
    return write_reports(tmp_path / "reports")


@pytest.fixture
def least(tmp_path):
    return write_least(tmp_path / "least")
