"""What the score of a model with groups of pixels is made of.

    python -m tests.soak.group_parts OUT MODEL ..

OUT is the folder of `tests.soak.learning`, MODEL one that it trained, such as
OUT/models/groupvit-learnt-0. Printed are, over the test pictures:

- mIoU: as the model is, by its own reading of groups;
- shown: every group gets the class of its highest cosine among those that the picture shows;
- truth: every group gets the class that most of its pixels have, so only grouping is judged;
- groups: how many groups a picture has, and purity: the share of pixels of the class that their
  group has most of;
- objects, stuff: area under the ROC curve of the cosine of the whole picture and a class, for
  whether the picture shows it, so only the embedding of the picture is judged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from captionseg.benchmarks.own_data import OwnData
from captionseg.inference.labelling import Labeller
from captionseg.inference.protocols import ScoringOptions
from captionseg.metrics import areas, mean_iou
from captionseg.model_inputs import Inputs
from captionseg.modeling.layers.grouping import compose_assignments
from captionseg.modeling.readout.group_readout import GroupSegmenter
from captionseg.modeling.readout.zero_shot import assign_pixels
from captionseg.prepared import PreparedInputs
from captionseg.sources.shapes import OUTLINES
from tests.soak.learning import list_folders, read_truth, say

READINGS = ("miou", "shown", "truth")
COLUMNS = {
    "model": "40",
    "miou": "6.1f",
    "shown": "7.1f",
    "truth": "7.1f",
    "groups": "8.1f",
    "purity": "8.2f",
    "objects": "9.2f",
    "stuff": "7.2f",
}
"""Name of a number -> its format."""


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.group_parts", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    arguments = parser.parse_args()
    say(
        f"{'model':40}{'mIoU':>6}{'shown':>7}{'truth':>7}{'groups':>8}{'purity':>8}  objects  stuff"
    )
    for model in arguments.models:
        row = take_apart(arguments.out, model)
        say("".join(f"{row[name]:{width}}" for name, width in COLUMNS.items()))


def take_apart(root: Path, folder: Path) -> dict[str, float | str]:
    """Return the numbers of a model by the names of COLUMNS."""
    truth, names = read_truth(root)
    inputs = PreparedInputs(pictures=list_folders(root / "data").pictures())
    labeller = Labeller.load(folder, ScoringOptions(device="cpu"), names=names, regions=False)
    rows = OwnData(split="test").open(root)[0].pictures.rows
    total = {reading: np.zeros((3, len(names)), np.int64) for reading in READINGS}
    cosines, shown, used, pure = [], [], [], []
    for row, labels in zip(rows, truth, strict=True):
        pictures = inputs(np.array([row]), (labels.shape[0], labels.shape[1]))
        group, scores, whole = read_groups(labeller, pictures)
        counts = np.zeros((len(scores), len(names)), np.int64)
        np.add.at(counts, (group, labels), 1)
        present = counts.sum(0) > 0
        found = {
            "miou": labeller.predict(pictures),
            "shown": np.where(present, scores, -np.inf).argmax(1)[group],
            "truth": counts.argmax(1)[group],
        }
        for reading, each in found.items():
            total[reading] += areas(each[None], labels[None], len(names))
        cosines.append(whole)
        shown.append(present)
        used.append((counts.sum(1) > 0).sum())
        pure.append(counts.max(1).sum() / counts.sum())
    roc = separate(np.stack(cosines), np.stack(shown))
    objects = np.isin(names, list(OUTLINES))
    return {
        "model": folder.name,
        **{reading: float(100 * mean_iou(part)) for reading, part in total.items()},
        "groups": float(np.mean(used)),
        "purity": float(np.mean(pure)),
        "objects": float(roc[objects].mean()),
        "stuff": float(roc[~objects].mean()),
    }


def read_groups(labeller: Labeller, pictures: Inputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the group of each pixel [H, W], cosines of groups and classes [G, C], and of the whole
    picture and classes [C].
    """
    model = labeller.loaded.model
    assert isinstance(model, GroupSegmenter)
    assert labeller.classes is not None
    with torch.inference_mode():
        encoded = model.towers.vision(pictures.image)
        maps = compose_assignments(encoded.maps).unflatten(2, encoded.grid)
        classes = model.towers.embed_classes(labeller.classes)
        scores = model.towers.embed(encoded.groups)[0] @ classes.T
        whole = model.towers.embed(encoded.groups.mean(1))[0] @ classes.T
    return assign_pixels(maps, pictures.size)[0].numpy(), scores.numpy(), whole.numpy()


def separate(cosines: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each class [C], of cosines [n, C]."""
    found = []
    for cosine, there in zip(cosines.T, shown.T, strict=True):
        wins = mannwhitneyu(cosine[there], cosine[~there]).statistic
        found.append(wins / (there.sum() * (~there).sum()))
    return np.array(found)


if __name__ == "__main__":
    main()
