"""Validates all tables of a run; a failed expectation stops the run."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from captionseg.expectations import coverage, pairs, segments, supervision
from captionseg.expectations.coverage_tables import CoverageParams, Folders, read_marked
from captionseg.expectations.params import ValidateParams
from captionseg.expectations.runner import run
from captionseg.expectations.suite import Suite, build_schemas
from captionseg.records import IDS, PAIRS, SEGMENTS, SUPERVISION, TRUTH, UserError
from captionseg.segment_text.counts import read_counts
from captionseg.storage.folders import list_files, read_tables
from captionseg.storage.reading import read_table
from captionseg.storage.writing import write_json

pc: Any = compute  # its functions are made when it is imported


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
    wrong = set(first.frame.loc[first.frame["found"] != first.frame["expected"], "table"])
    yield first
    if "pairs" in wrong:
        return
    successful = read_successful(folders.pairs)
    ids = read_table(folders.index / "ids.parquet", schema=IDS)
    if not wrong:
        yield from coverage.build_suites(folders, coverage_params, successful, ids)
    del ids
    yield pairs.build_suite(read_with_shards(folders.pairs, pairs.COLUMNS), params)
    readable = [rule for rule in rules if f"supervision {rule}" not in wrong]
    yield from build_rule_suites(folders, params, readable, successful)
    if "segments" not in wrong and f"supervision {coverage_params.curation}" not in wrong:
        yield from build_segment_suites(folders, params, coverage_params, successful)


def build_rule_suites(
    folders: Folders, params: ValidateParams, rules: Sequence[str], successful: pa.Table
) -> Iterator[Suite]:
    """Build the suites of the supervision of each rule.

    Args:
        folders: paths of all tables.
        params: the limits.
        rules: names of rules whose tables can be read.
        successful: rows of the pairs.
    """
    train = successful.filter(pc.equal(successful["split"], "train"))
    file = folders.supervision / "vocabulary" / "concepts.parquet"
    words = set(read_table(file, columns=["text"])["text"].to_pylist())
    marked = read_marked(folders.supervision)
    for rule in rules:
        folder = folders.supervision / rule
        yield from supervision.build_suites(
            rule, functools.partial(read_with_shards, folder), train, words, params, marked=marked
        )


def build_segment_suites(
    folders: Folders, params: ValidateParams, coverage_params: CoverageParams, successful: pa.Table
) -> list[Suite]:
    """Build the suites of the segments of the split that has them, without marked pairs."""
    kept = coverage.read_kept(folders.supervision / coverage_params.curation)
    marked = pa.array(sorted(read_marked(folders.supervision)), pa.string())
    of_split = successful.filter(pc.equal(successful["split"], coverage_params.split))
    known = of_split.filter(pc.invert(pc.is_in(of_split["uid"], marked)))
    return segments.build_suites(
        read_tables(folders.segments), known, read_counts(folders.segments), params, kept=kept
    )


def read_successful(folder: Path) -> pa.Table:
    """Read what several suites need of the pairs that were successful."""
    names = ("uid", "key", "split", "sha256", "width", "height", "status")
    rows = read_with_shards(folder, names)
    return rows.filter(pc.equal(rows["status"], "success")).drop_columns("status")


def read_with_shards(folder: Path, columns: Sequence[str]) -> pa.Table:
    """Read columns of all parquet files in a folder, and a column `shard`."""
    tables = {
        file.stem: read_table(file, columns=columns) for file in list_files(folder, ".parquet")
    }
    return pa.concat_tables(
        table.append_column("shard", pa.array([name] * len(table), pa.string()))
        for name, table in tables.items()
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
