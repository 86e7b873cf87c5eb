"""How many captioned pictures curation needs: rules and models by the size of the corpus.

    python -m tests.soak.corpus_sizes OUT --sizes 500 1000 2000 8000
    python -m tests.soak.corpus_sizes OUT --sizes 1000 2000 3000 --root FLICKR8K

Composes scenes, or takes the first pictures of Flickr8k as the archive on Kaggle has it (Images/
and captions.txt; one caption a picture is seen). Each size is a run of its own, so alignment,
neighbours and vocabulary know no other picture. Rules are measured by held-out captions, and on
scenes models by masks. OUT gets sizes.json, a file that goes on where a killed run stopped, and
sizes.png.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml

from captionseg.storage.reading import read_json
from captionseg.storage.writing import write_json
from tests.soak.ablation_grid import LITERAL
from tests.soak.checkout import copy_tracked, make_repository, reproduce

RULES = ("nouns", "caption_retrieval", "cocu", "cocu_literal", "cocu_calibrated", "cocu_levels")
VARIANTS = {
    "cocu_literal": LITERAL,
    "cocu_levels": {
        "rule": "cocu_calibrated",
        "high": "quantile",
        "base": 0.5,
        "shown": 10,
        "limit": 32,
    },
}
RECIPES = ("nouns-mil", "cocu-mil", "cocu_calibrated-mil")
SHOWN = {"precision_at_4": "precision of the first four added", "miou": "mIoU, test split"}


def main() -> None:
    """Measure each size, and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", required=True)
    parser.add_argument("--root", type=Path)
    arguments = parser.parse_args()
    path = arguments.out / "sizes.json"
    sizes = json.loads(path.read_text()) if path.exists() else {}
    for size in arguments.sizes:
        if str(size) not in sizes:
            sizes[str(size)] = run(arguments.out / str(size), size, arguments.root)
            write_json(sizes, path)
        sys.stdout.write(f"{size} {json.dumps(sizes[str(size)])}\n")
        sys.stdout.flush()
    draw(sizes, arguments.out / "sizes.png")


def run(folder: Path, size: int, root: Path | None) -> dict[str, dict[str, float]]:
    """Run the pipeline on so many training pictures; return measure -> rule or recipe -> value."""
    shutil.rmtree(folder, ignore_errors=True)
    copy_tracked(folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    if root is None:
        params["download"]["photo_scenes"]["train"] = size
    else:
        write_first(root, folder / "source", size)
        params["download"] |= {
            "source": "table",
            "table": {
                "path": str(folder.resolve() / "source/captions.txt"),
                "images": str((root / "Images").resolve()),
                "captions": "first",
            },
        }
    params["curate"] |= {"rules": list(RULES), "variants": VARIANTS}
    params["recipes"] = {name: params["recipes"][name] for name in RECIPES}
    params |= {"about": {}, "gate": {}}
    make_repository(folder, params)
    reproduce(folder, "curate" if root else "report")
    curation = read_json(folder / "reports/curation.json")
    result: dict[str, Any] = {
        name: {rule: curation[rule]["held_out"][name] for rule in RULES}
        for name in ("precision_at_4", "average_precision", "sampled_precision", "sampled_recall")
    }
    result["concepts_per_image"] = {rule: curation[rule]["concepts_per_image"] for rule in RULES}
    if root is None:
        scored = read_json(folder / "reports/metrics.json")["recipes"]
        result["miou"] = {name: scored[name]["photo_scenes"]["miou"] for name in RECIPES}
    shutil.rmtree(folder)
    return result


def write_first(root: Path, out: Path, size: int) -> None:
    """Write a table of the first `size` pictures with all their captions."""
    out.mkdir(parents=True)
    with (root / "captions.txt").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    names = sorted({name for name, _ in rows})[:size]
    with (out / "captions.txt").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[0] in set(names))])


def draw(sizes: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Draw what was measured against the number of pictures."""
    measures = [name for name in SHOWN if all(name in values for values in sizes.values())]
    counts = sorted(map(int, sizes))
    figure, axes = plt.subplots(
        1, len(measures), figsize=(5 * len(measures), 3.6), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes[0], measures, strict=True):
        for line in sizes[str(counts[0])][name]:
            values = [sizes[str(count)][name][line] for count in counts]
            if any(values):
                axis.plot(counts, values, marker="o", label=line)
        axis.set(xscale="log", xlabel="training pictures", ylabel=SHOWN[name])
        axis.set_xticks(counts, [f"{count:,}" for count in counts])
        axis.minorticks_off()
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
