"""The numbers of a run: metrics.json, and the files for `dvc plots`."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captionseg.gate.data import DECIMALS
from captionseg.gate.thresholds import Verdict, judge
from captionseg.metrics import paired_difference
from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.baselines import find_baseline, find_control
from captionseg.segment_text.counts import summarize
from captionseg.segment_text.measure import measures
from captionseg.sources.source import SPLITS
from captionseg.storage.writing import write_csv

SCORES = (
    "miou",
    "miou_low",
    "miou_high",
    "miou_std",
    "pixel_accuracy",
    "boundary_f",
    "miou_object",
    "miou_stuff",
    "miou_seen",
    "miou_unseen",
    "mask_map",
    "mask_map_50",
    "mask_map_75",
    "mask_coverage",
    "retrieval",
)
SEGMENT_MEASURES = (
    "per_image",
    "texts_per_segment",
    "full_image_share",
    "recall",
    "named_recall",
    "text_precision",
)


def write_metrics(
    run: Artifacts,
    gate: Mapping[str, str],
    *,
    measured: int | None,
    source: str = "",
    split: str = "test",
    bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[dict[str, Any], list[Verdict]]:
    """reports/metrics.json, the contract with CI, and how its gate came out. The same for the same
    seed: no durations.

    Args:
        run: the artifacts.
        gate: rules by name.
        measured: pictures whose segments are compared with the truth, None for all.
        source: of the data, by its name in section `download`.
        split: that is scored.
        bootstrap: data sets drawn for intervals of differences.
        seed: of the draws.
    """
    found = summarize(run.folders.segments)
    of_captions: dict[str, dict[str, float]] = {}
    if run.known_classes:
        kinds = {"all": ("phrase", "concept"), "captions": ("phrase",)}
        quality = measures(run.segments, run.truth, run.classes.names, kinds, images=measured)
        found |= quality["all"]
        of_captions["captions"] = {
            name: x for name, x in quality["captions"].items() if name in SEGMENT_MEASURES
        }
    out = round_numbers(
        {
            "data": describe_data(run, source, split),
            **({"index": run.recall} if run.recall else {}),
            "curation": run.curation,
            "segments": {name: found[name] for name in SEGMENT_MEASURES if name in found}
            | of_captions,
            "recipes": {
                name: _recipe(run, name, bootstrap, seed)
                for name in run.recipes
                if name in run.fits or name in run.scores
            },
        }
    )
    verdicts = judge(gate, out)
    return {**out, "gate": {"passed": int(all(v.passed or v.skipped for v in verdicts))}}, verdicts


def describe_data(run: Artifacts, source: str, split: str) -> dict[str, Any]:
    """The section `data`, see captionseg.gate.data: of each split, how many pictures have
    known masks.
    """
    statuses = run.statuses
    rows = (run.pairs[uid] for uid in run.known_classes if uid in run.pairs)
    known = Counter(
        split for split, _ in {(row["split"], row["sha256"] or row["uid"]) for row in rows}
    )
    return {
        "source": source,
        "digest": hash_pairs(run),
        "pairs": len(run.pairs),
        "download_success": statuses.count("success") / max(1, len(statuses)),
        "masks": {name: known[name] for name in SPLITS},
        "scored": split,
    }


def hash_pairs(run: Artifacts) -> str:
    """16 hex digits over every pair (uid, which has its caption; split; sha256 of the picture) and
    what is known of it: the names of its classes and, of the pictures that were scored, the true
    area of each class."""
    total = hashlib.sha256()
    for uid, row in sorted(run.pairs.items()):
        known = ",".join(sorted(run.known_classes.get(uid, ())))
        total.update(f"{uid} {row['split']} {row['sha256']} {known}\n".encode())
    for areas in [*run.areas.values()][:1]:  # all recipes were scored on the same pictures
        total.update(areas[:, 0, -1].tobytes())
    return total.hexdigest()[:16]


def _recipe(run: Artifacts, name: str, bootstrap: int, seed: int) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    if name in run.scores:
        scored = run.scores[name]
        out[scored["benchmark"]] = _scores(scored) | compute_gains(
            run, name, bootstrap=bootstrap, seed=seed
        )
        out |= {
            f"{scored['benchmark']}@{by}": _scores(other)
            for by, other in scored.get("also", {}).items()
        }
    if name in run.fits:
        out["train"] = _mean(run.fits[name].values(), ("loss", "tune_miou"))
    return out


def _scores(scored: Mapping[str, Any]) -> dict[str, Any]:
    return {key: scored["scores"][key] for key in SCORES if key in scored["scores"]}


def compute_gains(
    run: Artifacts, name: str, *, bootstrap: int, seed: int
) -> dict[str, dict[str, float]]:
    """over_baseline and over_control: mIoU of a recipe less that of another, 0 to 100, by a paired
    bootstrap over the pictures of the test split: miou, its 95 % interval low to high, and better,
    the share of data sets in which it is above the other."""
    out = {}
    for key, other in {
        "over_baseline": find_baseline(run.recipes, name),
        "over_control": find_control(run.recipes, name),
    }.items():
        if other in run.scores:
            found = paired_difference(
                run.areas[name], run.areas[other], samples=bootstrap, seed=seed
            )
            out[key] = {
                "miou": 100 * found.mean,
                "low": 100 * found.low,
                "high": 100 * found.high,
                "better": found.better,
            }
    return out


def _mean(rows: Iterable[Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Means of those of the names that every row has."""
    rows = list(rows)
    return {
        name: float(np.mean([row[name] for row in rows]))
        for name in names
        if all(name in row for row in rows)
    }


def round_numbers(value: Any) -> Any:
    """Numbers to DECIMALS; a number that is not finite is left out of its mapping, since JSON has
    none.
    """
    if isinstance(value, Mapping):
        return {
            k: round_numbers(v)
            for k, v in value.items()
            if not (isinstance(v, float) and not math.isfinite(v))
        }
    return round(value, DECIMALS) if isinstance(value, float) else value


def write_plots(run: Artifacts, folder: Path) -> None:
    """CSV files for `dvc plots`: curves.csv, miou.csv and curation.csv; .dvc/plots/ holds how they
    are drawn.
    """
    curves = []
    for recipe, seeds in run.curves.items():
        for seed, rows in seeds.items():
            score = {step: value for step, name, value in rows if name == "tune_miou"}
            curves += [
                # scored after the update of a step
                (recipe, seed, step, value, score.get(step + 1, ""))
                for step, name, value in rows
                if name == "loss"
            ]
    write_csv(folder / "curves.csv", ("recipe", "seed", "step", "loss", "tune_miou"), curves)
    rows = [(name, *(s["scores"][key] for key in SCORES[:3])) for name, s in run.scores.items()]
    write_csv(folder / "miou.csv", ("recipe", "miou", "low", "high"), rows)
    rows = [
        (rule, *(round(m[key], DECIMALS) for key in ("recall", "precision")))
        for rule, m in run.curation.items()
        if "recall" in m
    ]
    write_csv(folder / "curation.csv", ("rule", "recall", "precision"), rows)
