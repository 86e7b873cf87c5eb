"""Whether the published forms learn: each shrunk (groups, depth, width, pictures of 64 pixels),
trained on drawn shapes for minutes, and scored on 100 pictures that it never saw.

    python -m tests.soak.learning OUT [--forms groupvit cocu ..] [--seeds 0 1 2] [--train 640]

Captions name up to two shapes and one of the two grounds. Where they seldom name a ground, whole
pictures get the name of a shape, and mIoU says nothing about groups (docs/log.md).

Chance is the best of two guesses that know the pictures but not what is where: a class drawn for
each pixel, and the class that gives the highest mIoU everywhere. A form has learnt if its mIoU is
MARGIN above chance, and above its own start, which is what it is before training (TCL and CoDe
start as MaskCLIP). It also says what is where if it is above the best that one label for each whole
picture can give, that of its largest class by truth. OVSegmentor trains in its two stages: L_mask
begins after two thirds of the steps, and is compared with the first stage alone. Nothing is
selected: there is no tune split. OUT/data is made once; what was trained is not trained again.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from captionseg import indexing
from captionseg.benchmarks.own_data import OwnData
from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.corpus_captions import write_captions
from captionseg.curation.marked import Inputs
from captionseg.curation.pipeline import Known, curate
from captionseg.curation.rules import CurateParams
from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_pairs
from captionseg.datasets.truth_masks import decode_mask
from captionseg.encoders.text_space import TextSpace
from captionseg.index_params import IndexParams
from captionseg.inference.labelling import Labeller
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.inference.protocols import ScoringOptions
from captionseg.metrics import areas, mean_iou
from captionseg.prepared import PreparedInputs
from captionseg.recipes import Recipe
from captionseg.regioning import write_regions
from captionseg.segment_text import pipeline, stage_inputs
from captionseg.segment_text.params import SegmentTextParams
from captionseg.segmenters.region_makers import RegionsParams
from captionseg.sources.shapes import Shapes
from captionseg.training.loader import Folders
from captionseg.training.params import PretrainParams
from captionseg.training.pretrain import pretrain
from captionseg.typed import replace_fields

MARGIN = 5.0
"""Points of mIoU above chance, stated before the first run."""

TEST = 100
SIDE = 64
ENCODER = {"size": SIDE, "patch": 8, "width": 64, "heads": 2, "drop_path": 0.0, "weight_std": 0.05}
"""The deviation is .02 sqrt(384 / 64)."""
TEXT = {"width": 64, "depth": 2, "heads": 2}
JOINT = {"hidden": 256, "embedding": 64}
LIGHT = {"smallest": 0.4, "randaugment": "", "erase": 0.0}
"""Augmentation: RandAugment changes the colours that grounds are told apart by."""

GROUPVIT = {
    "towers": {
        "encoder": {**ENCODER, "depths": [1, 0], "group_tokens": [8, 0], "groups": [8]},
        "text": TEXT,
        **JOINT,
    }
}
OVSEGMENTOR = {
    "towers": {
        "encoder": {**ENCODER, "depths": [1, 0], "group_tokens": [8, 0], "groups": [8]},
        "text": {**TEXT, "hidden": 256},
        **JOINT,
    }
}
FROZEN = {"picture": SIDE, "grounder": {"convs": 1, "conv": "depthwise"}}
TOWER = {"name": "tf_efficientnet_lite0", "weights": "packaged", "blocks": 2}
FORMS: dict[str, dict[str, Any]] = {
    "groupvit": {"rule": "nouns", "preset": "groupvit_small", "settings": GROUPVIT},
    "cocu": {"rule": "cocu", "model": "groupvit", "preset": "groupvit_small", "settings": GROUPVIT},
    "ovsegmentor": {"rule": "entities", "preset": "ovsegmentor_base", "settings": OVSEGMENTOR},
    "tcl": {"rule": "captions", "preset": "tcl_released", "settings": FROZEN, "epochs": 4},
    "code": {
        "rule": "nouns",
        "preset": "code_released",
        "settings": {"tcl": FROZEN, "words": {"context": 4}},
        "epochs": 4,
    },
    "use": {
        "rule": "nouns",
        "preset": "use_paper",
        "settings": {"networks": [TOWER], "crop": SIDE, "cell": 16},
        "epochs": 6,
    },
}
"""What each form changes of its preset, and its rule and epochs."""

PARAMS = {
    "epochs": 10,
    "batch": 32,
    "learning_rate": 1e-3,
    "schedule": "warmup_cosine",
    "warmup": 1,
    "warmup_unit": "epochs",
    "augment": LIGHT,
    "text_prompts": "simple",
    "device": "cpu",
}


def main() -> None:
    """Train and score each form; the exit code is 1 if one has not learnt."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.learning", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--train", type=int, default=640)
    arguments = parser.parse_args()
    data = arguments.out / "data"
    if not (arguments.out / "data" / "segments").exists():
        make_data(data, arguments.train)
    truth, names = read_truth(arguments.out)
    chance, whole = guess(truth, len(names)), label_once(truth, len(names))
    say(f"chance {chance:.1f}, with the margin {chance + MARGIN:.1f}; one label each {whole:.1f}")
    say(f"{'form':16}{'seed':>5}{'start':>7}{'trained':>9}{'seconds':>9}  learnt  where")
    limits = (chance + MARGIN, whole)
    learnt = [
        compare(form, arguments.out, truth, names, seed=seed, limits=limits)
        for form in arguments.forms
        for seed in arguments.seeds
    ]
    sys.exit(0 if all(learnt) else 1)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def make_data(data: Path, train: int) -> None:
    """Run all stages before training on drawn shapes."""
    source = Shapes(train=train, tune=0, test=TEST, size=SIDE, stuff_named=1.0, second_named=1.0)
    pairs, features, index, regions = (data / n for n in ("pairs", "features", "index", "regions"))
    write_shards(source, pairs, data / "truth", shard_size=200, min_success=1.0, seed=1)
    table = read_pairs(pairs)
    write_regions(pairs, regions, maker=RegionsParams().build())
    params = replace_fields(IndexParams(neighbours=32), {"lite0_minilm": {"size": 112}}, "index")
    indexing.build(pairs, table, params, features=features, index=index, regions=regions, seed=0)
    rules = CurateParams(["nouns", "entities", "captions", "cocu"])
    rules = replace_fields(rules, {"cocu": {"neighbours": 32}}, "curate")
    space = TextSpace.load(features / "encoder")
    curate(
        Inputs(pairs, index, features),
        space.encode,
        rules,
        known=Known({}),
        supervision=data / "supervision",
        seed=0,
    )
    write_captions(pairs, CaptionParams(), data / "captions")
    inputs = stage_inputs.Inputs(pairs, data / "captions", data / "supervision", features, regions)
    segment = SegmentTextParams("nouns", min_area=16)
    pipeline.segment(inputs, segment, space=lambda: space, segments=data / "segments", seed=0)


def list_folders(data: Path) -> PreparedFolders:
    """Return the folders of the stages."""
    return PreparedFolders(*(data / name for name in ("pairs", "index", "regions", "features")))


def read_truth(root: Path) -> tuple[np.ndarray, list[str]]:
    """Return the labels [n, H, W] of the test pictures, and the names of the classes."""
    benchmark, _ = OwnData(split="test").open(root)
    return np.stack([decode_mask(png) for png in benchmark.pictures.masks]), list(benchmark.names)


def guess(truth: np.ndarray, classes: int) -> float:
    """Return the mIoU of the better guess, in %; see the module's docstring."""
    share = np.bincount(truth[truth < classes], minlength=classes) / (truth < classes).sum()
    drawn = share / classes / (share + 1 / classes - share / classes)
    return 100 * max(float(drawn.mean()), float(share.max()) / classes)


def label_once(truth: np.ndarray, classes: int) -> float:
    """Return the mIoU, in %, of pictures that wholly get the name of their largest class."""
    total = np.zeros((3, classes), np.int64)
    for labels in truth:
        largest = np.bincount(labels[labels < classes], minlength=classes).argmax()
        total += areas(np.full_like(labels, largest)[None], labels[None], classes)
    return float(100 * mean_iou(total))


def compare(
    form: str,
    root: Path,
    truth: np.ndarray,
    names: list[str],
    *,
    seed: int,
    limits: tuple[float, float],
) -> bool:
    """Print the rows of a form; return whether it has learnt.

    Args:
        form: key of FORMS.
        root: folder of the data.
        truth: labels of the test pictures.
        names: names of the classes.
        seed: of the training.
        limits: the mIoU of what has learnt, and of one label for each picture, in %.
    """
    stages: dict[str, dict[str, Any]] = {form: {}}
    if form == "ovsegmentor":
        stages = {"ovsegmentor, 1": {"mask_weight": 0.0}, "ovsegmentor, 2": {}}
    start, passed = None, True
    for row, settings in stages.items():
        if start is None:
            start, _ = train(form, root, settings, truth, names, seed=seed, learns=False)
        trained, seconds = train(form, root, settings, truth, names, seed=seed, learns=True)
        learnt, where = trained >= limits[0] and trained > start, trained > limits[1]
        passed &= learnt
        verdict = f"{'yes' if learnt else 'no':8}{'yes' if where else 'no'}"
        say(f"{row:16}{seed:5}{start:7.1f}{trained:9.1f}{seconds:9.0f}  {verdict}")
    return passed


def train(
    form: str,
    root: Path,
    settings: dict[str, Any],
    truth: np.ndarray,
    names: list[str],
    *,
    seed: int,
    learns: bool,
) -> tuple[float, float]:
    """Train a form; return its mIoU in %, and the seconds of its training.

    Args:
        form: key of FORMS.
        root: folder of the data.
        settings: further changes of its config.
        truth: labels of the test pictures.
        names: names of the classes.
        seed: of the training.
        learns: whether it learns; otherwise the learning rate is next to nothing, for one epoch.
    """
    choice, data = FORMS[form], root / "data"
    recipe = Recipe(
        choice["rule"],
        choice["rule"],
        choice.get("model", form),
        choice["preset"],
        {**choice["settings"], **settings},
    )
    changes = {**PARAMS, "epochs": choice.get("epochs", PARAMS["epochs"]), "seeds": [seed]}
    if not learns:
        changes |= {"epochs": 1, "warmup": 0, "learning_rate": 1e-12}
    steps = changes["epochs"] * (count_training(data) // changes["batch"])
    if form == "ovsegmentor" and "mask_weight" not in settings:
        recipe.settings["mask_from"] = 2 * steps // 3
    folders = Folders(list_folders(data), data / "supervision", data / "truth", data / "segments")
    parts = (form, *settings, "learnt" if learns else "start", str(seed))
    out = root / "models" / "-".join(parts)
    context = {"regions": asdict(RegionsParams()), "prompts": "simple"}
    params = replace_fields(PretrainParams(), changes, "pretrain")
    measures = pretrain(
        recipe, params, folders, name=form, context=context, out=out, tell=lambda *_: None
    )
    return score(out, root, truth, names), measures["seconds"]


def count_training(data: Path) -> int:
    """Return the number of training pictures."""
    return read_pairs(data / "pairs")["split"].to_pylist().count("train")


def score(model: Path, root: Path, truth: np.ndarray, names: list[str]) -> float:
    """Return the mIoU of a model on the test pictures, in %."""
    benchmark, data = OwnData(split="test").open(root)[0], root / "data"
    prepared = list_folders(data)
    inputs = PreparedInputs(
        regions=data / "regions", features=data / "features", pictures=prepared.pictures()
    )
    labeller = Labeller.load(model, ScoringOptions(device="cpu"), names=names, regions=False)
    total = np.zeros((3, len(names)), np.int64)
    for row, mask in zip(benchmark.pictures.rows, truth, strict=True):
        found = labeller.predict(inputs(np.array([row]), (mask.shape[0], mask.shape[1])))
        total += areas(found[None], mask[None], len(names))
    return float(100 * mean_iou(total))


if __name__ == "__main__":
    main()
