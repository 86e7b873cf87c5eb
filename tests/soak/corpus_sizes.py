"""How many captioned pictures curation needs: rules and models by the size of the corpus.

    python -m tests.soak.corpus_sizes OUT --sizes 500 1000 2000 8000
    python -m tests.soak.corpus_sizes OUT --sizes 1000 2000 3000 --root FLICKR8K
    python -m tests.soak.corpus_sizes FLICKR_OUT SCENES_OUT --picture docs/pictures/sizes.png

Composes scenes, or takes the first pictures of Flickr8k as the archive on Kaggle has it (Images/
and captions.txt; one caption a picture is seen). Each size is a run of its own, so alignment,
neighbours and vocabulary know no other picture. Rules are measured by held-out captions, and on
scenes models by masks. OUT gets sizes.json, a file that goes on where a killed run stopped.

The last form draws the curves of such folders. What the committed reports have of the same rules
and recipes is added to the scenes.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from captionseg.reporting.charts import HUES
from captionseg.storage.reading import read_json
from captionseg.storage.writing import atomic_path, write_json
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
FILE = "sizes.json"
RECIPES = ("nouns-mil", "cocu-mil", "cocu_calibrated-mil")
HELD_OUT = ("precision_at_4", "average_precision", "sampled_precision", "sampled_recall")

Measures = dict[str, dict[str, float]]
"""Measure -> rule or recipe -> value."""


def main() -> None:
    """Measure each size, or draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="+")
    parser.add_argument("--sizes", type=int, nargs="+", default=[])
    parser.add_argument("--root", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    if arguments.picture:
        draw([read_sizes(out) for out in arguments.out], arguments.picture)
        return
    (out,) = arguments.out
    sizes = read_sizes(out)
    for size in arguments.sizes:
        if size not in sizes:
            sizes[size] = run(out / str(size), size, arguments.root)
            write_json({str(count): values for count, values in sizes.items()}, out / FILE)
        sys.stdout.write(f"{size} {json.dumps(sizes[size])}\n")
        sys.stdout.flush()


def read_sizes(out: Path) -> dict[int, Measures]:
    """Read what was measured so far: number of training pictures -> measures."""
    path = out / FILE
    return {int(n): values for n, values in read_json(path).items()} if path.exists() else {}


def run(folder: Path, size: int, root: Path | None) -> Measures:
    """Run the pipeline on so many training pictures, and return what was measured."""
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
    measures = read_measures(folder / "reports", scored=root is None)
    shutil.rmtree(folder)
    return measures


def read_measures(reports: Path, *, scored: bool) -> Measures:
    """Read the measures of a run: of its rules, and if `scored` of its recipes."""
    curation = read_json(reports / "curation.json")
    rules = [rule for rule in RULES if rule in curation]
    result = {name: {rule: curation[rule]["held_out"][name] for rule in rules} for name in HELD_OUT}
    result["concepts_per_image"] = {rule: curation[rule]["concepts_per_image"] for rule in rules}
    if scored:
        recipes = read_json(reports / "metrics.json")["recipes"]
        result["miou"] = {name: recipes[name]["photo_scenes"]["miou"] for name in RECIPES}
    return result


def write_first(root: Path, out: Path, size: int) -> None:
    """Write a table of the first `size` pictures with all their captions."""
    out.mkdir(parents=True)
    with (root / "captions.txt").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    names = sorted({name for name, _ in rows})[:size]
    with (out / "captions.txt").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[0] in set(names))])


def draw(folders: list[dict[int, Measures]], path: Path) -> None:
    """Draw what was measured against the number of pictures: captions alone, then the scenes."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    committed = params["download"]["photo_scenes"]["train"]
    panels = []
    for sizes in folders:
        scenes = all("miou" in values for values in sizes.values())
        if scenes:
            sizes.setdefault(committed, read_measures(Path("reports"), scored=True))
        data = "scenes" if scenes else "Flickr8k"
        panels.append((sizes, "precision_at_4", f"{data}: precision of the first four added"))
        if scenes:
            panels.append((sizes, "miou", f"{data}: mIoU of models, test split"))
    figure = Figure(figsize=(4.0 * len(panels), 3.7), layout="constrained")
    for axes, (sizes, measure, title) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True
    ):
        draw_measure(axes, sizes, measure)
        axes.set_title(title, fontsize=9)
    with atomic_path(path) as part:
        FigureCanvasAgg(figure).print_png(part, pil_kwargs={"dpi": (100, 100)})


def draw_measure(axes: Axes, sizes: dict[int, Measures], measure: str) -> None:
    """Draw a measure of each rule or recipe; a rule and its recipe have one colour."""
    counts = sorted(sizes)
    for rule, colour in zip(RULES, ("0.4", *HUES), strict=False):
        for name in (rule, f"{rule}-mil"):
            known = [count for count in counts if sizes[count][measure].get(name)]
            values = [sizes[count][measure][name] for count in known]
            if values:
                axes.plot(known, values, marker="o", markersize=4, color=colour, label=name)
    axes.set(xscale="log", xlabel="training pictures", ylim=(0, None))
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    # below the axes, since curves are everywhere inside
    axes.legend(fontsize=7, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.18))


if __name__ == "__main__":
    main()
