"""`dvc repro` of the whole DAG on data as people keep them: COCO's captions, Kaggle's Flickr layout
and img2dataset's three forms, each of 32 drawn shapes, with two recipes.

    python -m tests.soak.sources [--layouts coco kaggle ..] [--keep FOLDER]

Not a part of the tests: each layout takes minutes, most of them starts of processes. Prints a row
per layout; exit code 1 if a run fails, or a form of img2dataset leads to other bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from tests.soak import checkout
from tests.stages.given import LAYOUTS, RECIPES, choose_source

HEAD = ("layout", "s", "rows", "pairs", "failed", "rules", "recipes", "scored", "bytes")
NAMED = ("data/pairs/",)  # has the names of rows, which differ between img2dataset's forms
SMALL = {
    "index": {"neighbours": 4, "dense_width": 16, "dense_sample": 10},
    "curate": {"rules": ["nouns", "cocu"], "cocu": {"neighbours": 4}},
    "segment_text": {"curation": "cocu"},
    "validate": {"min_with_concepts": 0.1},
}


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0 if all layouts went through."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.sources", description=__doc__)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--keep", type=Path, help="folder of the checkouts, which must be new")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="sources") as folder:
        root = (arguments.keep or Path(folder)).resolve()
        say(HEAD)
        first: dict[str, str] = {}
        wrong = 0
        for layout in arguments.layouts:
            try:
                seconds = reproduce(layout, root)
            except RuntimeError as error:
                wrong += 1
                sys.stderr.write(f"{layout}: {error}\n")
                continue
            made = "-"
            if layout.startswith("img2dataset"):
                found = checkout.digests(root / layout)
                other = [
                    name
                    for name in checkout.differences(first or found, found)
                    if not name.startswith(NAMED)
                ]
                made = "differ" if other else "same" if first else "first"
                first = first or found
                wrong += bool(other)
            say(describe(layout, root / layout, seconds, made))
    return int(wrong > 0)


def reproduce(layout: str, root: Path) -> float:
    """Write the data of a layout and run `dvc repro` on them in a checkout of their own.

    Returns:
        seconds that it took.

    Raises:
        RuntimeError: if it fails.
    """
    download = choose_source(layout, root / "given" / layout)
    recipes = yaml.safe_load((checkout.ROOT / "params.yaml").read_text())["recipes"]
    chosen: dict[str, dict[str, Any]] = {
        "download": download,
        "recipes": {name: recipes[name] for name in RECIPES},
    }
    checkout.make(root / layout, settings=SMALL | chosen)
    return checkout.reproduce(root / layout)


def describe(layout: str, root: Path, seconds: float, made: str) -> tuple[object, ...]:
    """A row of the table, see HEAD."""
    reasons: Counter[str | None] = Counter()
    for file in sorted((root / "data/pairs").glob("*.parquet")):
        reasons.update(pq.read_table(file, columns=["reason"])["reason"].to_pylist())
    metrics = json.loads((root / "reports/metrics.json").read_text())
    trained = metrics["recipes"]
    scored = [name for name, found in trained.items() if set(found) != {"train"}]
    failed = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items(), key=str) if reason)
    rules = ", ".join(
        f"{rule} {found['concepts_per_image']:.2f}" for rule, found in metrics["curation"].items()
    )
    rows, pairs = reasons.total(), reasons[None]
    return layout, f"{seconds:.0f}", rows, pairs, failed, rules, len(trained), len(scored), made


def say(row: tuple[object, ...]) -> None:
    """A row of a Markdown table at once."""
    print(f"| {' | '.join(map(str, row))} |", flush=True)  # noqa: T201
    if row == HEAD:
        print(f"|{'---|' * len(row)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
