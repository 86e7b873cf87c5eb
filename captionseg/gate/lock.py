"""Does dvc.lock match params.yaml and the code? Uses `dvc status`, also in a clone without data.

`dvc repro --allow-missing --dry` cannot be used: `report` reads folders such as models/, which a
clone has without the data inside, and that command counts them as changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from captionseg.gate.findings_table import Finding, Section
from captionseg.gate.regression import list_differences

NAMED = 4
"""Number of changes of each kind that are listed by name."""
ABSENT = ("deleted", "not in cache")

Lock = Mapping[str, Any]
"""dvc.lock, parsed from YAML."""


def check_lock(
    status: Mapping[str, Any], lock: Lock, params: Mapping[str, Any], files: Mapping[str, Path]
) -> Section:
    """Build the section on dvc.lock: a row for each stale stage (or one row if none is) and for
    each file.

    Args:
        status: the output of `dvc status --json`.
        lock: dvc.lock.
        params: params.yaml.
        files: name in dvc.lock, such as reports/metrics.json -> path of the file to compare.
    """
    findings = [
        Finding("MISS", (f"stage {stage}", "; ".join(reasons)))
        for stage, reasons in find_stale_stages(status, lock, params).items()
    ] or [Finding("PASS", ("params and code", "every stage is up to date"))]
    findings += [check_file(lock, name, path) for name, path in files.items()]
    return Section("Lock", "dvc.lock", ("what", "why"), findings)


def find_stale_stages(
    status: Mapping[str, Any], lock: Lock, params: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Return the stages that `dvc repro` would run because of files in git, with the reasons.
    Stages that would only run after those are left out.
    """
    missing = {
        path
        for changes in status.values()
        for path, change in _list_changes(changes, "changed outs")
        if change in ABSENT
    }
    stale = {
        stage: reasons
        for stage, changes in status.items()
        if (reasons := _list_reasons(stage, changes, lock, params, missing))
    }
    for source, path, stage in find_outdated_reads(lock, params.get("recipes") or {}):
        stale.setdefault(stage, []).append(f"ran before {source} rewrote {path}")
    return stale


def _list_reasons(
    stage: str, changes: Sequence[Any], lock: Lock, params: Mapping[str, Any], missing: set[str]
) -> list[str]:
    outs = [out["path"] for out in _list_outs(lock)]
    deps = [
        (path, change)
        for path, change in _list_changes(changes, "changed deps")
        if not is_missing_data(path, change, outs, missing)
    ]
    locked = lock.get("stages", {}).get(stage, {}).get("params", {}).get("params.yaml", {})
    names = {
        "params": [
            text
            for _, change in deps
            if isinstance(change, Mapping)
            for key in change
            for text in _describe_param(key, locked, params)
        ],
        "changed": [
            path if change == "modified" else f"{path} ({change})"
            for path, change in deps
            if not isinstance(change, Mapping)
        ],
        "outs": [
            f"{path} ({change})"
            for path, change in _list_changes(changes, "changed outs")
            if change != "not in cache"
        ],
        "dvc.yaml": [str(change) for change in changes if not isinstance(change, Mapping)],
    }
    return [f"{kind}: {_abbreviate(entries)}" for kind, entries in names.items() if entries]


def is_missing_data(path: str, change: Any, outs: Sequence[str], missing: set[str]) -> bool:
    """Return whether a dep only counts as changed because its data are not in this clone; the stage
    that writes them is checked instead.
    """
    if change == "deleted":
        return any(
            path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in outs
        )
    return change == "modified" and any(out.startswith(f"{path}/") for out in missing)


def find_outdated_reads(lock: Lock, recipes: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (writing stage, path, reading stage) where dvc.lock records different contents for the
    writer and the reader.

    Args:
        lock: dvc.lock.
        recipes: recipes of params.yaml; stages of removed recipes are skipped.
    """
    stages = lock.get("stages", {})
    written = {
        out["path"]: (stage, out.get("md5"))
        for stage, entry in stages.items()
        for out in entry.get("outs", ())
    }
    for stage, entry in stages.items():
        recipe = stage.partition("@")[2]
        for dep in entry.get("deps", ()) if not recipe or recipe in recipes else ():
            source, digest = written.get(dep["path"], ("", dep.get("md5")))
            if digest != dep.get("md5"):
                yield source, dep["path"], stage


def check_file(lock: Lock, name: str, path: Path) -> Finding:
    """Check that a file is the one recorded in dvc.lock."""
    recorded = [out.get("md5") for out in _list_outs(lock) if out["path"] == name]
    if not recorded:
        return Finding("MISS", (name, "not in dvc.lock"))
    if not path.exists():
        return Finding("MISS", (name, "no such file"))
    if hashlib.md5(path.read_bytes()).hexdigest() in recorded:
        return Finding("PASS", (name, "as recorded"))
    return Finding("MISS", (name, "differs from the file recorded in dvc.lock"))


def _list_outs(lock: Lock) -> list[Mapping[str, Any]]:
    return [out for entry in lock.get("stages", {}).values() for out in entry.get("outs", ())]


def _list_changes(changes: Sequence[Any], kind: str) -> list[tuple[str, Any]]:
    """Return (path, change) for one kind of change of a stage."""
    return [
        item
        for change in changes
        if isinstance(change, Mapping)
        for item in (change.get(kind) or {}).items()
    ]


def _describe_param(key: str, locked: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """Return the leaves of a parameter that changed since the stage ran: `epochs 8 -> 9`."""
    value: Any = params
    for word in key.split("."):
        value = value.get(word) if isinstance(value, Mapping) else None
    if key not in locked:
        return [f"{key} (new)"]
    return [
        f"{'.'.join(filter(None, (key, name)))} {old} -> {new}"
        for name, old, new in list_differences(locked[key], value)
    ]


def _abbreviate(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
