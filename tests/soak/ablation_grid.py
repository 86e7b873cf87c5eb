"""Each row of CoCu's Table 3 at its own best number of neighbours and size of the archive.

    python -m tests.soak.ablation_grid OUT [--data data]

Trains every row with every pair of values on the default data, with no negative masked, and prints
its mIoU on the tune split, mean of two seeds; OUT/grid.json has them, and a killed run goes on from
there. `--data` takes the data of a finished run of this code by hard links. The best of each row
then belongs into experiments/ablation_sizes.yaml, which scores them on the test split.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from captionseg.storage.reading import read_json
from captionseg.storage.writing import write_json
from tests.soak.checkout import copy_tracked, make_repository, reproduce

EXPANSION = ((8, 1, 6), (8, 1, 16), (32, 1, 6), (32, 3, 6), (128, 3, 6), (256, 3, 6), (256, 3, 16))
"""Neighbours, support and size of the archive."""
RETRIEVAL = ((1, 6), (3, 3), (3, 6), (6, 6), (6, 16))
"""Captions and size of the archive."""
LITERAL = {
    "rule": "cocu",
    "neighbours": 8,
    "minimum_support": 1,
    "positive": "clipped",
    "own_first": False,
}
"""CoCu as the paper and its code have it, as far as they say."""

ROWS: dict[str, dict[str, Any]] = {
    "naive": {"ranking": "a", "clusters": 0},
    "by_neighbours": {"ranking": "b", "clusters": 0},
    "ranked": {"ranking": "a+b", "clusters": 0},
    "clustered": {"ranking": "a+b"},
}


def list_variants() -> dict[str, dict[str, Any]]:
    """Name -> a variant of a rule; names begin with the row."""
    variants: dict[str, dict[str, Any]] = {
        f"retrieval_{captions}_{limit}": {
            "rule": "caption_retrieval",
            "captions": captions,
            "limit": limit,
        }
        for captions, limit in RETRIEVAL
    }
    for row, settings in ROWS.items():
        for neighbours, support, limit in EXPANSION:
            variants[f"{row}_{neighbours}_{support}_{limit}"] = settings | {
                "rule": "cocu",
                "neighbours": neighbours,
                "minimum_support": support,
                "limit": limit,
            }
    return variants | {"literal": LITERAL}


def make_checkout(folder: Path, data: Path | None, variants: Mapping[str, Any]) -> None:
    """A checkout with these variants, and curate's output."""
    copy_tracked(folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["curate"] |= {"variants": dict(variants), "rules": ["nouns", "cocu", *variants]}
    params["segment_text"]["curation"] = "cocu"
    params["pretrain"]["seeds"] = [0, 1]
    unmasked = {"settings": {"mask_negatives": False}}
    params["recipes"] = {
        f"{rule}-mil": {"curation": rule, "archive": rule, **unmasked}
        for rule in ("nouns", "cocu", *variants)
    }
    params |= {"about": {}, "gate": {}}
    make_repository(folder, params)
    if data is None:
        reproduce(folder, "validate")
    else:
        shutil.copytree(data, folder / "data", copy_function=os.link, dirs_exist_ok=True)
        reproduce(folder, "-s", "-f", "curate")


def main() -> None:
    """Train what is missing, and print all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    folder, path = arguments.out / "checkout", arguments.out / "grid.json"
    variants, grid = list_variants(), json.loads(path.read_text()) if path.exists() else {}
    if not grid:
        shutil.rmtree(folder, ignore_errors=True)
        make_checkout(folder, arguments.data, variants)
    for rule in tqdm([rule for rule in ("nouns", "cocu", *variants) if rule not in grid]):
        reproduce(folder, "-s", "-f", f"pretrain@{rule}-mil")
        fits = sorted((folder / "models" / f"{rule}-mil" / "seeds").glob("*/fit.json"))
        grid[rule] = [read_json(fit)["tune_miou"] for fit in fits]
        write_json(grid, path)
    for rule, scores in sorted(grid.items(), key=lambda item: -np.mean(item[1])):
        seeds = ", ".join(f"{score:.1f}" for score in scores)
        sys.stdout.write(f"{rule:<28}{np.mean(scores):6.1f}  ({seeds})\n")


if __name__ == "__main__":
    main()
