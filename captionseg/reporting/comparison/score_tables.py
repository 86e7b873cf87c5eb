"""The tables of scores of our own runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from captionseg.reporting.charts import format_signed
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.document import Block, Cell, Code, Row, Table, Text
from captionseg.reporting.comparison.results import OWN, Difference, Result, Run
from captionseg.reporting.rendering import DASH, format_number

EXTRA = {
    "acc1": "acc@1",
    "acc5": "acc@5",
    "map": "mAP",
    "map_50": "mAP at .5",
    "map_75": "mAP at .75",
    "mask_map": "mask mAP",
    "mask_map_50": "mask mAP at .5",
    "mask_map_75": "mask mAP at .75",
}


def build_scores(data: Comparison) -> list[Block]:
    """Build a table for each run, and one of scores other than mIoU."""
    out: list[Block] = [_table_of_run(data, run) for run in data.runs]
    if data.results:
        out.append(
            Text(
                (
                    "mIoU with its 95 % interval; all values in %. Differences are in points of "
                    "mIoU, with the 95 % interval of a paired bootstrap over test pictures and "
                    "the share of samples in which the recipe is better. Bold: the highest mIoU "
                    "of each benchmark and protocol in a table.",
                ),
                small=True,
            )
        )
    return [*out, *_others(data)]


def _table_of_run(data: Comparison, run: Run) -> Block:
    """Build the table of a run's mIoU; without any, a text that says why."""
    title = f"Experiment {run.name}{': ' + run.about if run.about else ''}"
    results = [r for r in data.results if r.run == run.name and "miou" in r.scores]
    if results:
        best = {
            key: max(r.scores["miou"] for r in results if (r.benchmark, r.protocol) == key)
            for key in {(r.benchmark, r.protocol) for r in results}
        }
        rows = [
            _row(data, run, r, r.scores["miou"] == best[r.benchmark, r.protocol]) for r in results
        ]
        return Table(title if run.name else "The default run", HEAD, rows)
    if run.name:
        return Text((f"{title} Its results equal those of the default run.",))
    if data.has_no_masks:
        trained = ", ".join(run.trained) or "none"
        return Text(
            (f"No recipe was scored: no picture of the test split has a mask. Trained: {trained}.",)
        )
    return Text(("No recipe was scored: ", Code("dvc repro"), " scores them."))


HEAD = (
    "recipe",
    "benchmark",
    "protocol",
    "mIoU",
    "sd over seeds",
    "pixel accuracy",
    "boundary F",
    "over its baseline",
    "over its control",
)


def _row(data: Comparison, run: Run, result: Result, best: bool) -> Row:
    s, about = (
        result.scores,
        run.recipes[result.recipe].about if result.recipe in run.recipes else "",
    )
    seeds = f"{len(result.seeds)} seed{'s' * (len(result.seeds) != 1)}" if result.seeds else ""
    protocol = Cell(
        "its own" if result.protocol == OWN else result.protocol,
        describe_protocol(result.labelling),
        "text",
    )
    spread = s.get("miou_std") if len(result.seeds) != 1 else None
    first = (result.benchmark, result.protocol) == (data.home, OWN)
    return Row(
        [
            Cell(data.name(result), about if first else ""),
            Cell(result.title, kind="text"),
            protocol,
            Cell(format_number(s["miou"]), result.interval(), "best" if best else ""),
            Cell(format_number(spread, 2), seeds),
            Cell(format_number(s.get("pixel_accuracy"))),
            Cell(format_number(s.get("boundary_f"))),
            format_gain(result.baseline),
            format_gain(result.control),
        ]
    )


def format_gain(gain: Difference | None) -> Cell:
    """Format a difference with its sign and interval."""
    if gain is None:
        return Cell(DASH)
    return Cell(format_signed(gain.value), gain.more, "up" if gain.value >= 0 else "down")


def describe_protocol(protocol: Mapping[str, Any]) -> str:
    """Describe a protocol in a few words, from the keys that its evaluation wrote."""
    words = []
    for key in ("prompts", "refine", "masks", "contrast", "classes"):
        if protocol.get(key) not in (None, "", "none", "regions"):
            words.append(f"{key} {protocol[key]}")
    background, windows = protocol.get("background"), protocol.get("windows")
    if isinstance(background, dict) and background.get("policy") not in (None, "none"):
        words.append(f"background by {background['policy']}")
    if isinstance(windows, dict):
        words.append(
            "windows " + ", ".join(str(windows.get(k)) for k in ("short_side", "crop", "stride"))
        )
    if skipped := protocol.get("skipped"):
        words.append("skipped: " + "; ".join(str(line).split(":")[0] for line in skipped))
    return ", ".join(words)


def _others(data: Comparison) -> Iterator[Block]:
    """Build a table of classification accuracy and mask precision, if there are any."""
    results = [r for r in data.results if set(EXTRA) & set(r.scores)]
    names = [name for name in EXTRA if any(name in r.scores for r in results)]
    if results:
        head = ("recipe", "benchmark", "protocol", *(EXTRA[n] for n in names))
        yield Table(
            "Classification, parts and masks: scores other than mIoU",
            head,
            [
                Row(
                    [
                        Cell(data.name(r)),
                        Cell(r.title, kind="text"),
                        Cell("its own" if r.protocol == OWN else r.protocol, kind="text"),
                        *(Cell(format_number(r.scores.get(n)), r.interval(n)) for n in names),
                    ]
                )
                for r in results
            ],
        )
