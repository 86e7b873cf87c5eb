"""Runs suites with Great Expectations, and builds Data Docs and a report."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from captionseg.expectations.docs import tidy
from captionseg.expectations.quiet import gx, new_context
from captionseg.expectations.results import count_again, join_results, read_exception
from captionseg.expectations.suite import Suite
from captionseg.expectations.whole import WHOLE, judge_columns, watch_columns

VIEW = {"view": {"module_name": "captionseg.expectations.view", "class_name": "EscapedView"}}
RUN = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
"""Fixed time of the run, because Data Docs put it into file names and ours must be
deterministic.
"""


def run(suites: Iterable[Suite], docs: Path, *, examples: int) -> dict[str, Any]:
    """Check all suites.

    Args:
        suites: suites with different names.
        docs: folder for the Data Docs; it is emptied first.
        examples: number of failing rows to list per expectation.

    Returns:
        {"success", "statistics": {"expectations", "failed", "exceptions"}, "tables": {name:
        {"rows", "success", "expectations": [{"expectation", "column", "success", "observed",
        "examples"}], "exceptions": [...]}}}; deterministic. An expectation that could not be
        computed is listed under "exceptions" and counts as a failure.
    """
    context: Any = new_context()
    source = context.data_sources.add_pandas("captionseg")
    tables = {}
    for suite in suites:
        tables[suite.name] = check(suite, context, source, examples)
        del suite  # before the next one is made
    write_docs(context, docs, tables)
    entries = [e for table in tables.values() for e in table["expectations"]]
    raised = sum(len(table["exceptions"]) for table in tables.values())
    failed = sum(not e["success"] for e in entries)
    return {
        "success": failed + raised == 0,
        "statistics": {
            "expectations": len(entries) + raised,
            "failed": failed,
            "exceptions": raised,
        },
        "tables": tables,
    }


def write_docs(context: Any, docs: Path, tables: dict[str, Any]) -> None:
    """Build the Data Docs of what a context has checked.

    Args:
        context: of Great Expectations.
        docs: folder for them; it is emptied first.
        tables: as in the result of `run`.
    """
    shutil.rmtree(docs, ignore_errors=True)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())}
    context.add_data_docs_site(
        "validation",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "site_section_builders": {"expectations": VIEW, "validations": VIEW},
            "store_backend": store,
        },
    )
    context.build_data_docs(site_names=["validation"])
    tidy(docs, tables)


def check(suite: Suite, context: Any, source: Any, examples: int) -> dict[str, Any]:
    """Run one suite and return its report; the context keeps the results for the docs."""
    checkpoint = build_checkpoint(suite, context, source, examples)
    columns = watch_columns(suite)
    rows, parts, validation, place = 0, 0, None, None
    for frame in suite.parts():
        rows, parts = rows + len(frame), parts + 1
        for column in columns.values():
            column.add(frame)
        result = checkpoint.run(
            batch_parameters={"dataframe": frame},
            run_id=gx.RunIdentifier(run_name="validate", run_time=RUN),
        )
        ((place, found),) = result.run_results.items()
        if validation is None:
            validation = found
        else:
            join_results(validation, found, examples=examples, whole=WHOLE, together=suite.together)
        # before the next one is made; Great Expectations keeps its frame, so that it is emptied
        for name in list(frame):
            del frame[name]
        pa.default_memory_pool().release_unused()
    assert validation is not None, suite.name
    if parts > 1:
        judge_columns(validation.results, columns, suite, examples)
        count_again(validation)
        context.validation_results_store.set(place, validation)
    entries, exceptions = read_outcomes(validation.results, suite.key, examples)
    return {
        "rows": rows,
        "success": not exceptions and all(e["success"] for e in entries),
        "expectations": entries,
        "exceptions": exceptions,
    }


def build_checkpoint(suite: Suite, context: Any, source: Any, examples: int) -> Any:
    """Build what checks the parts of a suite's table."""
    batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    rules = context.suites.add(
        gx.ExpectationSuite(suite.name, expectations=list(suite.expectations))
    )
    definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=rules)
    checkpoint = gx.Checkpoint(
        name=suite.name,
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": [suite.key],
            "partial_unexpected_count": examples,
        },
    )
    return context.checkpoints.add(checkpoint)


def read_outcomes(
    outcomes: Iterable[Any], key: str, examples: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the results of expectations, and those that could not be computed.

    Args:
        outcomes: as Great Expectations returns them.
        key: column that identifies a row.
        examples: number of failing rows to list per expectation.
    """
    entries, exceptions = [], []
    for outcome in outcomes:
        config = outcome.expectation_config
        entry = {"expectation": config.type, "column": read_column(config.kwargs)}
        if message := read_exception(outcome.exception_info):
            exceptions.append({**entry, "message": message})
        else:
            observed = read_observed(outcome, key, examples)
            entries.append({**entry, "success": bool(outcome.success), **observed})
    return entries, exceptions


def read_column(kwargs: dict[str, Any]) -> str:
    """Return the columns of an expectation; empty for one on the whole table."""
    names = kwargs.get("column_list") or [kwargs.get(k) for k in ("column", "column_A", "column_B")]
    return ", ".join(str(name) for name in names if name)


def read_observed(outcome: Any, key: str, examples: int) -> dict[str, Any]:
    """Return what was observed (a value of the table, or the number of unexpected rows), and
    examples of failing rows.
    """
    result = outcome.result
    if "observed_value" in result:
        return {"observed": to_json(result["observed_value"]), "examples": []}
    observed = {"rows": int(result["element_count"]), "unexpected": int(result["unexpected_count"])}
    rows = [] if outcome.success else result.get("unexpected_index_list") or []
    return {
        "observed": observed,
        "examples": list(dict.fromkeys(to_json(row[key]) for row in rows))[:examples],
    }


def to_json(value: Any) -> Any:
    """Convert a value to JSON; values that JSON does not have become text."""
    value = value.item() if hasattr(value, "item") else value
    return (
        value
        if isinstance(value, str | int | bool | None)
        or (isinstance(value, float) and value == value)
        else str(value)
    )
