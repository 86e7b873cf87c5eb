"""How often concepts are given, and which rows rules leave out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from captionseg.records import SUPERVISION
from captionseg.reporting.data_page.bars import make_bars
from captionseg.reporting.rendering import DASH, View
from captionseg.storage.folders import list_files
from captionseg.storage.reading import read_table

pc: Any = compute  # its functions are made when it is imported

FREQUENT = (1000, 100, 10, 1)
"""Lower ends of the classes of how often a concept is given, most frequent first."""

REASONS_SHOWN = 8


def count_concepts(supervision: Path, rules: Sequence[str], shown: int) -> View:
    """How often each concept is given, by every rule.

    Args:
        supervision: folder of rules.
        rules: that were run; concepts are ordered by the first.
        shown: how many of the most frequent ones.

    Returns:
        `rules`, their names; `top`, name, `counts` by rule and bar of each; `tail`, how many
        concepts are as frequent as each of FREQUENT, by rule. Empty without a rule.
    """
    counts = {rule: count_rule(supervision / rule) for rule in rules}
    if not counts:
        return {}
    first = counts[rules[0]]
    order = sorted(first, key=lambda text: (-first[text], text))[:shown]
    bars = make_bars(order, [first[text] for text in order])
    top = [bar | {"counts": [counts[rule].get(bar["name"], 0) for rule in rules]} for bar in bars]
    tail = []
    for low, high in zip(FREQUENT, (None, *FREQUENT[:-1]), strict=True):
        name = f"{low:,} or more" if high is None else f"{low:,}{DASH}{high - 1:,}"
        inside = [
            sum(low <= n and (high is None or n < high) for n in counts[rule].values())
            for rule in rules
        ]
        tail.append({"name": name, "counts": inside})
    return {"rules": list(rules), "top": top, "tail": tail}


def count_rule(folder: Path) -> dict[str, int]:
    """Concept -> how many pairs one rule gives it to."""
    found: dict[str, int] = {}
    for file in list_files(folder, ".parquet"):
        column = read_table(file, schema=SUPERVISION, columns=["concepts"])["concepts"]
        texts = pc.struct_field(pc.list_flatten(column), "text")
        for row in pc.value_counts(texts).to_pylist():
            found[row["values"]] = found.get(row["values"], 0) + row["counts"]
    return found


def count_drops(supervision: Path, rules: Sequence[str]) -> list[View]:
    """Of every rule: rows, kept ones, and how many it dropped for which reason. Uids and
    numbers in reasons are left out, so that duplicates of different pictures count as one reason.
    """
    views = []
    for rule in rules:
        table = pa.concat_tables(
            read_table(file, schema=SUPERVISION, columns=["kept", "drop_reason"])
            for file in list_files(supervision / rule, ".parquet")
        )
        dropped = table.filter(pc.invert(pc.fill_null(table["kept"], False)))["drop_reason"]
        reasons = pc.replace_substring_regex(
            pc.fill_null(dropped, "no reason"), r"\b[0-9a-f]{32}\b|\d+(\.\d+)?", "…"
        )
        counts = [(row["values"], row["counts"]) for row in pc.value_counts(reasons).to_pylist()]
        views.append(
            {
                "rule": rule,
                "rows": len(table),
                "kept": len(table) - len(dropped),
                "reasons": sorted(counts, key=lambda item: (-item[1], item[0]))[:REASONS_SHOWN],
            }
        )
    return views
