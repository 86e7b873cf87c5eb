"""What a run says to its user: what its pictures are, how much captions leave out, and which recipe
to take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BASELINE = "nouns"  # the rule that adds nothing to the caption

COMPOSED = {"photo_scenes": "scenes composed of photographic cut-outs", "shapes": "drawn shapes"}
"""Sources that make their pictures -> what these are."""


def describe_source(source: str) -> str:
    """Say what the pictures of a source are that makes them itself; empty for all others."""
    if source not in COMPOSED:
        return ""
    return (
        f"The pictures are {COMPOSED[source]}, with generated captions, and with exact masks that "
        "are used for scoring only. Scores compare recipes; they are no measure of quality on "
        "photographs."
    )


def describe_gap(measures: Mapping[str, Any]) -> str:
    """Say which share of a picture's concepts its caption names; empty where nothing tells.

    Both shares are of the rule `nouns`: of the concepts that any caption of the picture names, and,
    where masks are known, of the concepts that its picture shows.

    Args:
        measures: section `curation` of metrics.json, by rule.
    """
    nouns = measures.get(BASELINE, {})
    parts = []
    if held_out := nouns.get("held_out"):
        low, share, high = (100 * held_out[f"sampled_recall{end}"] for end in ("_low", "", "_high"))
        parts.append(
            f"{share:.0f} % ({low:.0f} to {high:.0f}) of the concepts that all captions of its "
            "picture name"
        )
    if "recall" in nouns:
        parts.append(f"{100 * nouns['recall']:.0f} % of the concepts that its picture shows")
    return f"A caption names {', and '.join(parts)}." if parts else ""


def recommend(
    results: Sequence[Mapping[str, Any]], best: tuple[str, str] | None, measures: Mapping[str, Any]
) -> str:
    """Say which recipe to take, and by which evidence; empty where there is none.

    Scores against masks decide where there are any. Held-out captions only tell which rule adds the
    right concepts most often, and better labels need not give a better model.

    Args:
        results: rows of the results table.
        best: the recipe with the highest mIoU, and its baseline; None where nothing was compared.
        measures: section `curation` of metrics.json, by rule.
    """
    if best is None:
        return recommend_by_captions(measures)
    row = next(row for row in results if row["name"] == best[0])
    difference = row["over_baseline"]
    if difference is None:
        return ""
    interval = f"{difference['low']:+.1f} to {difference['high']:+.1f}"
    gain = f"{difference['miou']:+.1f} mIoU over {best[1]} ({interval})"
    if difference["low"] > 0:
        return f"Take {best[0]}: {gain}."
    return (
        f"Take {best[1]}: no recipe is ahead of it by more than chance, the best is {best[0]} with "
        f"{gain}."
    )


def recommend_by_captions(measures: Mapping[str, Any]) -> str:
    """`recommend` without scores."""
    precision = {
        rule: values["held_out"]["average_precision"]
        for rule, values in measures.items()
        if rule != BASELINE and "held_out" in values
    }
    if not precision or max(precision.values()) <= 0:
        return ""
    rule = max(precision, key=lambda name: precision[name])
    return (
        f"By held-out captions {rule} adds the right concepts most often (average precision "
        f"{precision[rule]:.2f}). Whether models gain by it is not measured without masks: score "
        "them on some pictures of yours with masks (captionseg evaluate) before you leave nouns."
    )
