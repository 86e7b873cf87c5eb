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
from captionseg.reporting.scene_choice import find_best
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
    """Build the content of reports/metrics.json, which CI reads, and judge the gate's rules on it.
    Equal seeds give equal content: it has no durations.

    Args:
        run: the artifacts.
        gate: rules by name.
        measured: number of pictures whose segments are compared with the truth, None for all.
        source: name of the data source in section `download`.
        split: the scored split.
        bootstrap: number of bootstrap samples for intervals of differences.
        seed: seed of the bootstrap.
    """
    out = round_numbers(
        {
            "data": describe_data(run, source, split),
            **({"index": run.recall} if run.recall else {}),
            "curation": run.curation,
            "segments": measure_segments(run, measured),
            "recipes": {
                name: _recipe(run, name, bootstrap, seed)
                for name in run.recipes
                if name in run.fits or name in run.scores
            },
        }
    )
    verdicts = judge(gate, out)
    return {**out, "gate": {"passed": int(all(v.passed or v.skipped for v in verdicts))}}, verdicts


def measure_segments(run: Artifacts, measured: int | None) -> dict[str, Any]:
    """Return the numbers of segments; `captions` has those of phrases of captions alone.

    Args:
        run: the artifacts.
        measured: number of pictures whose segments are compared with the truth, None for all.
    """
    summary, of_captions = summarize(run.folders.segments), {}
    if run.known_classes:
        kinds = {"all": ("phrase", "concept"), "captions": ("phrase",)}
        quality = measures(run.segments, run.truth, run.classes.names, kinds, images=measured)
        summary |= quality["all"]
        of_captions["captions"] = {
            name: x for name, x in quality["captions"].items() if name in SEGMENT_MEASURES
        }
    return {name: summary[name] for name in SEGMENT_MEASURES if name in summary} | of_captions


def describe_data(run: Artifacts, source: str, split: str) -> dict[str, Any]:
    """Build section `data`, see captionseg.gate.data, with the number of masked pictures
    per split.
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
    """Hash all pairs to 16 hex digits: uid (which includes the caption), split, sha256 of the
    picture, the names of its known classes and, for scored pictures, the true area of each class.
    """
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
    """Compute over_baseline and over_control: mIoU of a recipe minus that of another, 0 to 100, by
    a paired bootstrap over test pictures: miou, its 95 % interval low to high, and better, the
    share of bootstrap samples in which the recipe is ahead.
    """
    out = {}
    for key, other in {
        "over_baseline": find_baseline(run.recipes, name),
        "over_control": find_control(run.recipes, name),
    }.items():
        if other in run.scores:
            difference = paired_difference(
                run.areas[name], run.areas[other], samples=bootstrap, seed=seed
            )
            out[key] = {
                "miou": 100 * difference.mean,
                "low": 100 * difference.low,
                "high": 100 * difference.high,
                "better": difference.better,
            }
    return out


def summarize_run(
    run: Artifacts, metrics: Mapping[str, Any], ceiling: Mapping[str, float]
) -> dict[str, Any]:
    """Build the content of summary.json, the few numbers of a run that `dvc metrics show` and `dvc
    exp show` have columns for: champion, the recipe with the highest mIoU on the tune split; miou
    by recipe; ceiling, the mIoU that the regions allow.

    Args:
        run: the artifacts.
        metrics: content of metrics.json.
        ceiling: see `measure_ceiling`.
    """
    miou = {
        name: metrics["recipes"][name][scored["benchmark"]]["miou"]
        for name, scored in run.scores.items()
    }
    best = find_best(run)
    return {
        **({"champion": best, "miou": miou} if best else {}),
        **({"ceiling": ceiling["miou"]} if ceiling else {}),
    }


def _mean(rows: Iterable[Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Return the means of the names that every row has."""
    rows = list(rows)
    return {
        name: float(np.mean([row[name] for row in rows]))
        for name in names
        if all(name in row for row in rows)
    }


def round_numbers(value: Any) -> Any:
    """Round numbers to DECIMALS; non-finite numbers are left out, because JSON has none."""
    if isinstance(value, Mapping):
        return {
            k: round_numbers(v)
            for k, v in value.items()
            if not (isinstance(v, float) and not math.isfinite(v))
        }
    return round(value, DECIMALS) if isinstance(value, float) else value


def write_plots(run: Artifacts, folder: Path) -> None:
    """Write CSV files for `dvc plots`: curves.csv, miou.csv and curation.csv; .dvc/plots/ has their
    templates.
    """
    curves = []
    for recipe, seeds in run.curves.items():
        for seed, rows in seeds.items():
            score = {step: value for step, name, value in rows if name == "tune_miou"}
            curves += [
                # scores are measured after the step's update
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
