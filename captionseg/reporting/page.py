"""The content of reports/index.html: all results of a run on one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from captionseg.marking.marker import KINDS
from captionseg.records import DROPPED
from captionseg.reporting.advice import describe_gap, describe_source, recommend
from captionseg.reporting.baselines import find_baseline, find_control, is_control
from captionseg.reporting.charts import Style

if TYPE_CHECKING:
    from captionseg.reporting.artifacts import Artifacts
    from captionseg.reporting.params import ReportParams
    from captionseg.reporting.rendering import View

EXTREMES = 5
"""Number of best and of worst classes shown per recipe."""

CURATION = {
    "recall": ("recall",),
    "precision": ("precision",),
    "recall_unnamed": ("recall of what", "captions leave out"),
    "sampled_recall": ("recall,", "as drawn"),
    "sampled_precision": ("precision,", "as drawn"),
    "kept": ("pictures", "kept"),
}
"""Numbers of a rule that are shown, if they were measured, and the lines of their headings."""

REFINED = {
    "pamr": "Masks refined along the edges of the picture (PAMR).",
    "segments": "Masks refined by class-agnostic segments.",
}
"""Refinement -> remark about a recipe whose masks are refined before scoring."""


def list_results(
    run: Artifacts, looks: Mapping[str, Style], metrics: Mapping[str, Any]
) -> list[View]:
    """Build a row of the results table for every recipe that was trained or scored, the highest
    mIoU first.
    """
    rows = []
    for name, recipe in run.recipes.items():
        if name not in run.scores and name not in run.fits:
            continue
        scored = run.scores.get(name, {})
        gained = metrics["recipes"][name].get(scored.get("benchmark"), {})
        rows.append(
            {
                "name": name,
                "about": recipe.about,
                "control": is_control(recipe),
                "colour": looks[name].colour,
                "remarks": list(list_remarks(scored)),
                "scores": scored.get("scores"),
                "loss": metrics["recipes"][name].get("train", {}).get("loss"),
                "seeds": len(scored.get("seeds", run.fits.get(name, ()))),
                "over_baseline": read_difference(
                    gained.get("over_baseline"), find_baseline(run.recipes, name)
                ),
                "over_control": read_difference(
                    gained.get("over_control"), find_control(run.recipes, name)
                ),
            }
        )
    return sorted(rows, key=lambda row: -(row["scores"] or {}).get("miou", 0.0))


def read_difference(difference: Mapping[str, float] | None, other: str | None) -> View | None:
    """Return a difference of metrics.json with the other recipe's name; None without one."""
    return {**difference, "to": other} if difference else None


def list_remarks(scored: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences on unusual ways of scoring, and on scores that only some models have."""
    protocol, scores = scored.get("protocol", {}), scored.get("scores", {})
    if text := REFINED.get(protocol.get("refine")):
        yield text
    if protocol.get("masks", "regions") != "regions":
        yield f"Masks may overlap (made by {protocol['masks']})."
    if contrast := protocol.get("contrast"):
        yield f"Contrast {contrast:g}: a share of each class's mean over a picture is taken away."
    for paper, other in scored.get("also", {}).items():
        yield f"By the protocol of {paper}: mIoU {other['scores']['miou']:.1f}."
    if "mask_map" in scores:
        yield (
            f"Masks of things: mAP {scores['mask_map']:.1f}, {scores['mask_map_50']:.1f} at IoU "
            "0.5."
        )
    if retrieval := scores.get("retrieval"):
        yield (
            f"Segment retrieval: {retrieval['r1']:.1f} % of {retrieval['queries']:,.0f} caption "
            f"expressions find their segment first among {retrieval['gallery']:,.0f}, "
            f"{retrieval['r10']:.1f} % within the first ten."
        )


def find_champion(run: Artifacts) -> tuple[str, str] | None:
    """Return the recipe with the highest mIoU that has a baseline and is no control, and that
    baseline.
    """
    pairs = [
        (name, other)
        for name in run.scores
        if not is_control(run.recipes[name])
        if (other := find_baseline(run.recipes, name)) in run.scores
    ]
    champion = max(pairs, key=lambda pair: run.scores[pair[0]]["scores"]["miou"], default=None)
    return (champion[0], str(champion[1])) if champion else None


def list_class_changes(
    run: Artifacts, pair: tuple[str, str], most: int
) -> list[tuple[str, str, float, float]]:
    """Return (class, kind, IoU of the baseline, IoU of the recipe) for the largest gains and
    visible losses, best first.
    """
    after, before = (run.scores[name]["per_class"] for name in pair)
    kind = dict(zip(run.classes.names, run.classes.kinds, strict=False))
    rows = [
        (name, kind.get(name, ""), before[name], after[name]) for name in after if name in before
    ]
    rows.sort(key=lambda row: (row[2] - row[3], row[0]))
    return (
        [*rows[:most], *[row for row in rows[most:][-most:] if row[3] < row[2] - 0.5]]
        if most
        else []
    )


def list_class_scores(run: Artifacts) -> list[View]:
    """Return the IoU of every class by every recipe, in class order."""
    kind = dict(zip(run.classes.names, run.classes.kinds, strict=False))
    names = dict.fromkeys(name for scored in run.scores.values() for name in scored["per_class"])
    values = {
        name: [scored["per_class"].get(name) for scored in run.scores.values()] for name in names
    }
    return [
        {
            "name": name,
            "kind": kind.get(name, ""),
            "values": row,
            "best": max((v for v in row if v is not None), default=None),
        }
        for name, row in values.items()
    ]


def find_extremes(run: Artifacts, most: int = EXTREMES) -> list[View]:
    """Return the classes with the highest and the lowest IoU of each recipe, none twice."""
    rows = []
    for name, scored in run.scores.items():
        order = sorted(scored["per_class"].items(), key=lambda item: (-item[1], item[0]))
        few = min(most, len(order) // 2)
        rows.append({"name": name, "best": order[:few], "worst": order[len(order) - few :][::-1]})
    return rows


def list_validation(run: Artifacts) -> list[View]:
    """Build a row for every validated table."""
    return [
        {
            "name": name,
            "rows": table["rows"],
            "expectations": len(table["expectations"]) + len(table["exceptions"]),
            "failed": sum(not e["success"] for e in table["expectations"])
            + len(table["exceptions"]),
        }
        for name, table in run.validation.get("tables", {}).items()
    ]


def list_dropped(run: Artifacts) -> list[View]:
    """A row for each kind of mark that was looked for: what it means, and how many training pairs
    are left out for it; the last one for those that stay.
    """
    counts = run.curation.get(DROPPED, {})
    if not counts:
        return []
    pairs = sum(row["split"] == "train" for row in run.pairs.values())
    rows = [(kind, KINDS[kind], int(n)) for kind, n in counts.items()]
    rows.append(("kept", "no marker marks them", pairs - sum(n for _, _, n in rows)))
    return [
        {"kind": kind, "means": means, "count": n, "share": 100 * n / max(1, pairs)}
        for kind, means, n in rows
    ]


def describe_curation(run: Artifacts, measures: Mapping[str, Any]) -> View:
    """Return the measures of each rule, as far as there are any.

    Args:
        run: the artifacts.
        measures: section `curation` of metrics.json.
    """
    return {
        "curation": [(rule, measures[rule]) for rule in run.rules if rule in run.curation],
        "held_out": [
            (rule, measures[rule]["held_out"])
            for rule in run.rules
            if "held_out" in measures.get(rule, {})
        ],
        "measures": [
            (name, title)
            for name, title in CURATION.items()
            if any(name in found for found in run.curation.values())
        ],
    }


def build_context(
    run: Artifacts,
    params: ReportParams,
    *,
    metrics: Mapping[str, Any],
    verdicts: Sequence[Any],
    looks: Mapping[str, Style],
    shown: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Build the context of the template.

    Args:
        run: the artifacts.
        params: section `report`.
        metrics: content of metrics.json.
        verdicts: results of the gate's rules.
        looks: colours of recipes.
        shown: views whose pictures were written: data, examples, segments, scenes, heat and charts;
            the recipe that scenes were chosen by, and the ceiling.
        seed: seed of the run.
    """
    best, curation = find_champion(run), metrics["curation"]
    results = list_results(run, looks, metrics)
    advice = (
        describe_source(metrics["data"].get("source", "")),
        describe_gap(curation),
        recommend(results, best, curation),
    )
    benchmark = next((scored["benchmark"] for scored in run.scores.values()), "")
    return {
        **shown,
        "metrics": metrics,
        "verdicts": verdicts,
        "results": results,
        "best": best,
        "advice": " ".join(filter(None, advice)),
        "seed": seed,
        **describe_curation(run, curation),
        "dropped": list_dropped(run),
        "per_class": list_class_scores(run),
        "extremes": find_extremes(run),
        "scored": list(run.scores),
        "validation": list_validation(run),
        "valid": bool(run.validation.get("success")),
        "split": params.split,
        "benchmark": benchmark,
    }
