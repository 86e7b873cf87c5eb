"""All tables of a run against their suites. A failed expectation ends the run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from captionseg.expectations import ValidateParams, pairs, segments, supervision
from captionseg.expectations.runner import run
from captionseg.expectations.suite import Suite, schemas
from captionseg.records import PAIRS, SEGMENTS, SUPERVISION, UserError
from captionseg.segment_text.counts import read_counts
from captionseg.storage import read_tables, write_json


def validate(
    pairs_folder: Path,
    params: ValidateParams,
    *,
    supervision_folder: Path,
    segments_folder: Path,
    docs: Path,
    report: Path,
    failed: Path,
) -> dict[str, float]:
    """Check pairs, every rule's supervision, and segments.

    Args:
        pairs_folder: data/pairs.
        params: section `validate`.
        supervision_folder: with a folder for each rule.
        segments_folder: data/segments.
        docs: out; Data Docs.
        report: out; what `runner.run` returns.
        failed: where docs and report are copied if something fails, since outputs then do not reach their place.

    Returns:
        how many expectations there are.

    Raises:
        UserError: for failed expectations, with the first one's table, name, column and examples.
    """
    suites = all_suites(pairs_folder, supervision_folder, segments_folder, params)
    result = run(suites, docs, examples=params.examples)
    write_json(result, report)
    if not result["success"]:
        shutil.rmtree(failed, ignore_errors=True)
        shutil.copytree(docs, failed / docs.name)
        shutil.copy(report, failed / report.name)
        raise UserError(
            f"validate: {complaint(result)}; see {failed / docs.name}/index.html and {failed / report.name}"
        )
    return {"expectations": float(result["statistics"]["expectations"])}


def all_suites(
    pairs_folder: Path, supervision_folder: Path, segments_folder: Path, params: ValidateParams
) -> list[Suite]:
    """The schemas first; the other suites only of tables whose schema holds, since they read its columns."""
    rules = sorted(f.name for f in supervision_folder.iterdir() if any(f.glob("[0-9]*.parquet")))
    tables = {"pairs": (pairs_folder, PAIRS), "segments": (segments_folder, SEGMENTS)}
    tables |= {f"supervision {rule}": (supervision_folder / rule, SUPERVISION) for rule in rules}
    first = schemas(tables)
    wrong = set(first.frame.loc[first.frame["found"] != first.frame["expected"], "table"])
    out = [first]
    if "pairs" in wrong:
        return out
    rows = read_tables(pairs_folder)
    out += pairs.suites(rows, params)
    there = rows.filter(pa.array(np.asarray(rows["status"].to_pylist()) == "success"))
    known = set(there["uid"].to_pylist())
    for rule in rules:
        if f"supervision {rule}" not in wrong:
            out += supervision.suites(rule, read_tables(supervision_folder / rule), known, params)
    if "segments" not in wrong:
        out += segments.suites(read_tables(segments_folder), there, read_counts(segments_folder), params)
    return out


def complaint(result: dict[str, Any]) -> str:
    """The first failure in words, and how many more there are."""
    found = [(name, e) for name, table in result["tables"].items()
             for e in [*(e for e in table["expectations"] if not e["success"]), *table["exceptions"]]]  # fmt: skip
    name, first = found[0]
    what = f"{name}: {first['expectation']} of {first['column'] or 'the table'} failed"
    if "message" in first:
        what += f" to run ({first['message']})"
    elif isinstance(first["observed"], dict):
        what += f" in {first['observed']['unexpected']} of {first['observed']['rows']} rows"
    else:
        what += f" (observed {first['observed']})"
    if first.get("examples"):
        what += f", such as {', '.join(map(str, first['examples']))}"
    return what + (f"; and {len(found) - 1} more" if len(found) > 1 else "")
