"""Validates all tables of a run; a failed expectation stops the run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from captionseg.expectations import coverage, pairs, segments, supervision
from captionseg.expectations.coverage_tables import CoverageParams, Folders, find_kept, read_marked
from captionseg.expectations.known_pairs import KnownPairs
from captionseg.expectations.params import ValidateParams
from captionseg.expectations.runner import run
from captionseg.expectations.suite import Suite, build_schemas
from captionseg.records import PAIRS, SEGMENTS, SUPERVISION, TRUTH, UserError
from captionseg.segment_text.counts import read_counts
from captionseg.storage.reading import read_table
from captionseg.storage.writing import write_json


def validate(
    folders: Folders,
    params: ValidateParams,
    *,
    coverage_params: CoverageParams,
    docs: Path,
    report: Path,
    failed: Path,
) -> dict[str, float]:
    """Validate pairs, every rule's supervision and segments, and check that no stage lost a row.

    Args:
        folders: paths of the tables.
        params: section `validate`.
        coverage_params: what must exist according to other sections.
        docs: output folder of the Data Docs.
        report: output file for the report of `runner.run`.
        failed: folder to copy docs and report to after a failure, because a failed stage has no
            outputs.

    Returns:
        the number of expectations.

    Raises:
        UserError: for failed expectations, with the table, name, column and examples of the first;
            and for unreadable files.
    """
    suites = build_all_suites(folders, params, coverage_params)
    result = run(suites, docs, examples=params.examples)
    write_json(result, report)
    if not result["success"]:
        shutil.rmtree(failed, ignore_errors=True)
        shutil.copytree(docs, failed / docs.name)
        shutil.copy(report, failed / report.name)
        raise UserError(
            f"validate: {describe_failure(result)}; see {failed / docs.name}/index.html and "
            f"{failed / report.name}"
        )
    return {"expectations": float(result["statistics"]["expectations"])}


def build_all_suites(
    folders: Folders, params: ValidateParams, coverage_params: CoverageParams
) -> Iterator[Suite]:
    """Yield the suite of schemas first; other suites need a valid schema, because they read its
    columns. The tables of a suite are read when it is its turn.
    """
    rules = [
        rule
        for rule in coverage_params.rules
        if any((folders.supervision / rule).glob("*.parquet"))
    ]
    tables = {
        "pairs": (folders.pairs, PAIRS),
        "truth": (folders.truth, TRUTH),
        "segments": (folders.segments, SEGMENTS),
    }
    tables |= {f"supervision {rule}": (folders.supervision / rule, SUPERVISION) for rule in rules}
    first = build_schemas(tables)
    columns = first.read()
    wrong = set(columns.loc[columns["found"] != columns["expected"], "table"])
    yield first
    if "pairs" in wrong:
        return
    successful = KnownPairs.read(folders.pairs)
    if not wrong:
        yield from coverage.build_suites(folders, coverage_params, successful)
    yield pairs.build_suite(folders.pairs, params)
    readable = [rule for rule in rules if f"supervision {rule}" not in wrong]
    yield from build_rule_suites(folders, params, readable, successful)
    if "segments" not in wrong and f"supervision {coverage_params.curation}" not in wrong:
        yield from build_segment_suites(folders, params, coverage_params, successful)


def build_rule_suites(
    folders: Folders, params: ValidateParams, rules: Sequence[str], successful: KnownPairs
) -> Iterator[Suite]:
    """Build the suites of the supervision of each rule.

    Args:
        folders: paths of all tables.
        params: the limits.
        rules: names of rules whose tables can be read.
        successful: the pairs.
    """
    file = folders.supervision / "vocabulary" / "concepts.parquet"
    words = set(read_table(file, columns=["text"])["text"].to_pylist())
    marked = read_marked(folders.supervision)
    for rule in rules:
        yield from supervision.build_suites(
            rule, folders.supervision / rule, successful, words, params, marked=marked
        )


def build_segment_suites(
    folders: Folders,
    params: ValidateParams,
    coverage_params: CoverageParams,
    successful: KnownPairs,
) -> Iterator[Suite]:
    """Build the suites of the segments of the split that has them, without marked pairs."""
    known = successful.is_of(coverage_params.split)
    marked = read_marked(folders.supervision)
    for rows, table in successful.stream(["uid"]) if len(marked) else ():
        known[rows] &= marked.find(table["uid"]) < 0
    kept = find_kept(folders.supervision / coverage_params.curation, successful)
    yield from segments.build_suites(
        folders.segments,
        segments.Pictured(successful, known, kept),
        read_counts(folders.segments),
        params,
    )


def describe_failure(result: dict[str, Any]) -> str:
    """Describe the first failure, and count the others."""
    failures = [
        (name, e)
        for name, table in result["tables"].items()
        for e in [*(e for e in table["expectations"] if not e["success"]), *table["exceptions"]]
    ]
    name, first = failures[0]
    what = f"{name}: {first['expectation']} of {first['column'] or 'the table'} failed"
    if "message" in first:
        what += f" to run ({first['message']})"
    elif isinstance(first["observed"], dict):
        what += f" in {first['observed']['unexpected']} of {first['observed']['rows']} rows"
    else:
        what += f" (observed {first['observed']})"
    if first.get("examples"):
        what += f", such as {', '.join(map(str, first['examples']))}"
    return what + (f"; and {len(failures) - 1} more" if len(failures) > 1 else "")
