"""Compares runs side by side: the params that differ, and the metrics.

captionseg compare latest~1 latest                            # the last two reproductions
captionseg compare latest/nouns-mil latest/cocu-mil champion  # recipes
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captionseg.records import UserError, one_line
from captionseg.storage.markdown import escape
from captionseg.tracking import reproduction
from captionseg.tracking.environment import EXPERIMENT, adopt
from captionseg.tracking.store import import_client

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

TAGS = {"commit": "mlflow.source.git.commit", "dirty": "git.dirty", "dvc.lock": "dvc.lock"}
LATEST = re.compile(r"latest(?:~(\d+))?(?:/(.+))?")
ALIASES = ("champion", "challenger")
SERIES = ("system/", "curve.")  # series, whose last points are not informative


@dataclass(frozen=True)
class Table:
    """A table with a column per run.

    Attributes:
        heads: a name per run.
        about, params, metrics: name of a row -> a value per run, None if missing.
        equal: number of metrics left out because they are equal in all runs.
    """

    heads: list[str]
    about: dict[str, list[str | None]]
    params: dict[str, list[str | None]]
    metrics: dict[str, list[float | None]]
    equal: int = 0


def connect(root: Path) -> tuple[MlflowClient, str]:
    """Connect to a repository's store; return a client and the id of its experiment.

    Raises:
        UserError: there is no store, or it does not answer.
    """
    try:
        uri = reproduction.store_uri(root)
    except ValueError as error:
        raise UserError(str(error)) from None
    if (database := reproduction.find_database(uri)) and not database.exists():
        raise UserError(f"{database}: no runs yet; run `dvc repro`")
    adopt()
    client_class = import_client()
    from mlflow.exceptions import MlflowException

    try:
        client = client_class(uri, uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
    except (MlflowException, OSError) as error:
        raise UserError(f"{uri}: does not answer: {one_line(error, 160)}") from None
    if experiment is None:
        raise UserError(f"{uri}: no experiment {EXPERIMENT!r}; run `dvc repro` to create it")
    return client, experiment.experiment_id


def resolve(client: MlflowClient, experiment: str, word: str) -> Run:
    """Return the run that a word of the command line refers to.

    Raises:
        UserError: there is no such run, or more than one.
    """
    if match := LATEST.fullmatch(word):
        return _find_latest(client, experiment, int(match[1] or 0), match[2])
    if word in ALIASES:
        return _find_alias(client, word)
    runs = _search(client, experiment, f"attributes.run_name = '{_quote(word)}'", limit=10)
    if re.fullmatch(r"[0-9a-f]{4,32}", word):
        runs += _search(client, experiment, f"attributes.run_id LIKE '{word}%'", limit=10)
    if len(runs) > 1:
        some = ", ".join(f"{run.info.run_id[:8]} of {_format_start(run)}" for run in runs[:3])
        raise UserError(f"{word}: {len(runs)} runs have this name; give an id: {some}, ...")
    if not runs:
        raise UserError(
            f"{word}: no such run; give an id, a name, latest, latest~1, latest/RECIPE or champion "
            "(`make mlflow` lists them)"
        )
    return runs[0]


def tabulate(runs: Sequence[Run], *, all_metrics: bool = False) -> Table:
    """Build a table of runs: params and metrics that differ, or `all_metrics`; no series."""
    about: dict[str, list[str | None]] = {
        "id": [run.info.run_id[:8] for run in runs],
        "started": [_format_start(run) for run in runs],
        "status": [run.info.status for run in runs],
    }
    for name, tag in TAGS.items():
        values = [run.data.tags.get(tag) for run in runs]
        if any(values):
            about[name] = [
                value and (value[:8] if name in ("commit", "dvc.lock") else value)
                for value in values
            ]
    params = _rows([run.data.params for run in runs])
    params = {name: values for name, values in params.items() if len(set(values)) > 1}
    metrics = _rows([run.data.metrics for run in runs])
    metrics = {name: values for name, values in metrics.items() if not name.startswith(SERIES)}
    shown = {
        name: values for name, values in metrics.items() if all_metrics or len(set(values)) > 1
    }
    heads = [run.info.run_name or run.info.run_id[:8] for run in runs]
    return Table(heads, about, params, shown, len(metrics) - len(shown))


def to_text(table: Table) -> str:
    """Format a table for a terminal."""
    lines: list[tuple[str, ...]] = [("", *list_heads(table))]
    for title, rows in list_sections(table):
        lines += [(title,), *((f"  {name}", *cells) for name, *cells in rows)]
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(f"{cell:{'>' if i else '<'}{widths[i]}}" for i, cell in enumerate(line)).rstrip()
        for line in lines
    )


def to_markdown(table: Table) -> str:
    """Format a table as Markdown."""
    top = [escape(head) for head in list_heads(table)]
    out = ["| | " + " | ".join(top) + " |", "|---|" + "---:|" * len(top)]
    for title, rows in list_sections(table):
        out.append(f"| **{escape(title)}** |" + " |" * len(top))
        out += [
            "| " + " | ".join((*map(escape, row), *[""] * (1 + len(top) - len(row)))) + " |"
            for row in rows
        ]
    return "\n".join(out)


def to_json(table: Table) -> str:
    """Format a table as JSON."""
    return json.dumps(
        {
            "runs": table.heads,
            "about": table.about,
            "params": table.params,
            "metrics": table.metrics,
        },
        indent=2,
    )


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": to_text,
    "json": to_json,
    "markdown": to_markdown,
}


def list_heads(table: Table) -> list[str]:
    """Return the headings of all columns but the first."""
    return [*table.heads, "difference"] if len(table.heads) == 2 else table.heads


def list_sections(table: Table) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return (title, rows of cells) of the sections that have rows."""
    metrics = {
        name: [*map(_number, values), *_difference(values)]
        for name, values in table.metrics.items()
    }
    parts: dict[str, Mapping[str, Sequence[str | None]]] = {
        "run": table.about,
        "params that differ": table.params,
        "metrics": metrics,
    }
    sections = {
        title: [(name, *(value or "-" for value in values)) for name, values in rows.items()]
        for title, rows in parts.items()
    }
    if table.equal:
        sections["metrics"].append((f"({table.equal} equal ones hidden, --all shows them)",))
    return [(title, rows) for title, rows in sections.items() if rows]


def _find_latest(client: MlflowClient, experiment: str, back: int, child: str | None) -> Run:
    runs = _search(client, experiment, "tags.role = 'reproduction'", limit=back + 1)
    if len(runs) <= back:
        raise UserError(
            f"latest~{back}: there are only {len(runs)} reproductions; run `dvc repro` for another"
        )
    if child is None:
        return runs[back]
    key = _quote(runs[back].data.tags.get(reproduction.KEY, ""))
    same = _search(client, experiment, f"tags.{reproduction.KEY} = '{key}'", limit=1000)
    below = [run for run in same if run.data.tags.get("role") != "reproduction"]
    for run in below:  # newest first: the last attempt of a stage
        if run.info.run_name == child:
            return run
    names = ", ".join(dict.fromkeys(str(run.info.run_name) for run in below))
    raise UserError(f"{child}: not a run of {runs[back].info.run_name} (found: {names or 'none'})")


def _find_alias(client: MlflowClient, alias: str) -> Run:
    from mlflow.exceptions import MlflowException

    from captionseg.tracking.registry import NAME

    try:
        return client.get_run(client.get_model_version_by_alias(NAME, alias).run_id or "")
    except MlflowException:
        raise UserError(
            f"{alias}: no version of model {NAME!r} has this alias; a reproduction that passes the "
            "gate registers one"
        ) from None


def _search(client: MlflowClient, experiment: str, where: str, *, limit: int) -> list[Run]:
    return list(
        client.search_runs(
            [experiment], where, order_by=["attributes.start_time DESC"], max_results=limit
        )
    )


def _rows(columns: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = sorted(set().union(*columns))
    return {name: [column.get(name) for column in columns] for name in names}


def _difference(values: Sequence[float | None]) -> list[str]:
    if len(values) != 2:
        return []
    before, after = values
    return [f"{after - before:+.4g}" if before is not None and after is not None else "-"]


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def _format_start(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime((run.info.start_time or 0) / 1000))


def _quote(word: str) -> str:
    return word.replace("'", "\\'")
