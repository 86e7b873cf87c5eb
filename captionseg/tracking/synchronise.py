"""Records the results of a reproduction in MLflow exactly once, whichever of its stages ran.

There are three callers: stage `report`, or `evaluate` for its recipe; any stage after which DVC
skips `report` because nothing changed for it; and `captionseg sync`, if no stage ran at all.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from captionseg.records import UserError, one_line
from captionseg.tracking import recipe_runs, registry, reproduction, reproduction_files
from captionseg.tracking.environment import EXPERIMENT, PATIENCE, adopt
from captionseg.tracking.reproduction import KEY, PARENT
from captionseg.tracking.values import flatten_numbers

if TYPE_CHECKING:
    from captionseg.tracking.store import Store

STATE = "state"  # tag of a completely recorded reproduction: the hash of its results


def show(
    store: Store,
    parent: str,
    report: recipe_runs.RecipeReport,
    *,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> None:
    """Record the recipes of a reproduction; if it is complete, also update the champion and mark it
    as recorded.

    Args:
        store: the store; the caller holds its lock.
        parent: id of the reproduction's run.
        report: results of its recipes.
        params: the whole of params.yaml, with dotted names.
        tags: tags of its runs.
    """
    entries = recipe_runs.record(store, parent, report, params=params, tags=tags)
    if report.is_whole:
        decided = registry.promote(
            store.client, entries, {**tags, PARENT: parent}, passed=report.passes_gate
        )
        store.client.set_tag(parent, "registry", decided)
        state = recipe_runs.hash_state(report, params, {one.recipe: one.md5 for one in entries})
        store.client.set_tag(parent, STATE, state)
        with contextlib.suppress(OSError):  # the stage that would print it is gone
            sys.stderr.write(f"registry: {registry.NAME}: {decided}\n")


def show_all(
    store: Store, parent: str, files: reproduction_files.ReproductionFiles, tags: Mapping[str, str]
) -> None:
    """Record a reproduction from its files, as if its last stages had just run."""
    store.write_summary(parent, flatten_numbers(files.report.numbers), files.files)
    show(store, parent, files.report, params=files.params, tags=tags)


def catch_up(store: Store, parent: str, tags: Mapping[str, str]) -> None:
    """Record the results of `report` at the end of a stage, if DVC will skip `report`."""
    files = reproduction_files.read(store.root)
    if not files or store.client.get_run(parent).data.tags.get(STATE) == files.state:
        return
    if not reproduction_files.list_stale_stages(store.root, [reproduction_files.REPORT]):
        with store.lock:
            show_all(store, parent, files, tags)


def synchronise(root: Path) -> str:
    """Record the results of a checkout without running a stage; return what was done, as text.

    Within a flow they belong to the flow's run, otherwise to a new one.

    Raises:
        UserError: stages are not up to date, or the store cannot be used.
    """
    try:
        files = reproduction_files.read(root)
        if files is None:
            raise UserError("no reports that match dvc.lock; run `dvc repro` first")
        database = reproduction.find_database(reproduction.store_uri(root))
        flow = "CAPTIONSEG_FLOW_RUN" in os.environ
        if database and not flow and is_shown(database, files.state):
            return "MLflow shows it already"
        if names := reproduction_files.list_stale_stages(root):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(f"{', '.join(names[:3])}{more}: not up to date; run `dvc repro` first")
        return _write(root, files)
    except UserError:
        raise
    except Exception as error:  # from MLflow, sqlite, the lock, DVC, or damaged files
        raise UserError(f"tracking: {type(error).__name__}: {one_line(error, 300)}") from None


def _write(root: Path, files: reproduction_files.ReproductionFiles) -> str:
    adopt()
    from captionseg.tracking.store import Store

    store, me = Store(root, PATIENCE), psutil.Process()
    name = time.strftime("up to date %Y-%m-%d %H:%M:%S")
    mine = reproduction.find(os.environ, me.parents())
    mine = mine or reproduction.Reproduction(
        f"files-{files.state}-{reproduction.identify_process(me)}", name
    )
    with store.lock:
        known = store.runs(f"tags.{STATE} = '{files.state}' and tags.role = 'reproduction'")
        parents = store.runs(f"tags.{KEY} = '{mine.key}' and tags.role = 'reproduction'")
        if known and (not parents or parents[0].info.run_id in [run.info.run_id for run in known]):
            return "MLflow shows it already"
        tags = {**reproduction.collect_tags(root), KEY: mine.key}
        parent = store.parent(mine, tags, files.params)
        show_all(store, parent, files, tags)
        store.client.set_terminated(parent, "FINISHED")
    return f"{len(files.report.labels)} recipes in run {parent[:8]} of {EXPERIMENT}"


def is_shown(database: Path, state: str) -> bool:
    """Return whether a sqlite store has this state; without MLflow, which takes seconds to
    import.
    """
    query = (
        "SELECT 1 FROM tags JOIN runs USING (run_uuid) WHERE key = ? AND tags.value = ? "
        "AND lifecycle_stage = 'active'"
    )
    try:
        uri = f"{database.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            return connection.execute(query, (STATE, state)).fetchone() is not None
    except sqlite3.Error:  # no database, or no tables yet
        return False
