"""The numbers of the comparison as CSV files for dvc plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from captionseg.gate.data import DECIMALS
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.results import Result
from captionseg.storage.writing import write_csv

MIOU = ("miou", "miou_low", "miou_high")
OTHERS = ("miou_std", "pixel_accuracy", "boundary_f")


def write_plots(
    data: Comparison,
    folder: Path,
    home: Iterable[Result],
    steps: Iterable[tuple[Mapping[str, str], Result]],
) -> None:
    """Write scores.csv, differences.csv and ablation.csv.

    Args:
        data: all results.
        folder: the output folder.
        home: results on the runs' own pictures.
        steps: rows of CoCu's ablation, with our result of each.
    """
    write_scores(data, folder / "scores.csv")
    differences = [(data.name(r), r.baseline) for r in home if r.baseline]
    write_csv(
        folder / "differences.csv",
        ("recipe", "over", "difference", "low", "high"),
        [(name, gain.to, *_round(gain.value, gain.low, gain.high)) for name, gain in differences],
    )
    write_csv(
        folder / "ablation.csv",
        ("recipe", "miou", "low", "high", "theirs"),
        [
            (
                f"{row['model']}: {r.recipe}",
                *_round(*(r.scores.get(key) for key in MIOU)),
                row["average"],
            )
            for row, r in steps
        ],
    )


def write_scores(data: Comparison, file: Path) -> None:
    """Write a row for each result that has a mIoU."""
    names = ("name", "run", "recipe", "benchmark", "protocol")
    scores = ("miou", "low", "high", "sd", "pixel_accuracy", "boundary_f")
    rows = [
        (
            data.label(r),
            r.run or "default",
            r.recipe,
            r.benchmark,
            r.protocol,
            *(r.scores.get(key, "") for key in (*MIOU, *OTHERS)),
        )
        for r in data.results
        if "miou" in r.scores
    ]
    write_csv(file, (*names, *scores), rows)


def _round(*values: float | None) -> list[float | str]:
    """Round values and ends of intervals; what is unknown stays empty."""
    return ["" if value is None else round(value, DECIMALS) for value in values]
