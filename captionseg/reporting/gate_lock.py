"""Is dvc.lock that of this params.yaml and this code? Read from `dvc status`, in a clone without
data too.

`dvc repro --allow-missing --dry` cannot say it here: what `report` reads are folders such as
models/, which a clone has, but without the data inside, and that command takes them for changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from captionseg.reporting.gate_regression import differences
from captionseg.reporting.gate_table import Line, Part

NAMED = 4  # of a kind of reason
ABSENT = ("deleted", "not in cache")


def part(
    status: Mapping[str, Any],
    lock: Mapping[str, Any],
    params: Mapping[str, Any],
    files: Mapping[str, Path],
) -> Part:
    """A line for each stage that is stale, else one for all, and one for each of the files.

    Args:
        status: what `dvc status --json` says.
        lock: dvc.lock.
        params: params.yaml.
        files: by their names in dvc.lock, such as reports/metrics.json: they must be as it says.
    """
    lines = [
        Line("MISS", (f"stage {name}", "; ".join(why)))
        for name, why in stale(status, lock, params).items()
    ]
    lines = lines or [Line("PASS", ("params and code", "every stage ran with them"))]
    return Part(
        "Lock",
        "dvc.lock",
        ("what", "why"),
        [*lines, *(recorded(lock, *file) for file in files.items())],
    )


def stale(
    status: Mapping[str, Any], lock: Mapping[str, Any], params: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Stages that `dvc repro` would run for what git holds, and why. Those that only follow them
    are not named.
    """
    found: dict[str, list[str]] = {}
    outs = [
        out["path"] for entry in lock.get("stages", {}).values() for out in entry.get("outs", ())
    ]
    missing = {
        path
        for changes in status.values()
        for path, how in _listed(changes, "changed outs")
        if how in ABSENT
    }
    for stage, changes in status.items():
        deps = [
            (path, how)
            for path, how in _listed(changes, "changed deps")
            if not excused(path, how, outs, missing)
        ]
        reasons = [
            _params(key, lock.get("stages", {}).get(stage, {}), params)
            for path, how in deps
            if isinstance(how, Mapping)
            for key in how
        ]
        why = {
            "params": [word for words in reasons for word in words],
            "changed": [
                path if how == "modified" else f"{path} ({how})"
                for path, how in deps
                if not isinstance(how, Mapping)
            ],
            "outs": [
                f"{path} ({how})"
                for path, how in _listed(changes, "changed outs")
                if how != "not in cache"
            ],
            "dvc.yaml": [str(change) for change in changes if not isinstance(change, Mapping)],
        }
        if said := [f"{kind}: {_few(names)}" for kind, names in why.items() if names]:
            found[stage] = said
    for source, path, stage in outdated(lock, params.get("recipes") or {}):
        found.setdefault(stage, []).append(f"older than {path}, which {source} wrote anew")
    return found


def excused(path: str, how: Any, outs: Sequence[str], missing: set[str]) -> bool:
    """Is this change of a dep only that data are not here? Then the stage that makes them answers
    for them.
    """
    if how == "deleted":
        return any(
            path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in outs
        )
    return how == "modified" and any(out.startswith(f"{path}/") for out in missing)


def outdated(lock: Mapping[str, Any], recipes: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(stage that wrote, path, stage that read) where dvc.lock has another content for the reader
    than for the writer.

    Args:
        lock: dvc.lock.
        recipes: of params.yaml; stages of others were there once, and are left out.
    """
    stages = lock.get("stages", {})
    written = {
        out["path"]: (name, out.get("md5"))
        for name, entry in stages.items()
        for out in entry.get("outs", ())
    }
    for name, entry in stages.items():
        member = name.partition("@")[2]
        for dep in entry.get("deps", ()) if not member or member in recipes else ():
            source, now = written.get(dep["path"], ("", dep.get("md5")))
            if now != dep.get("md5"):
                yield source, dep["path"], name


def recorded(lock: Mapping[str, Any], name: str, path: Path) -> Line:
    """Is a file the one that the lock records?"""
    known = [
        out.get("md5")
        for entry in lock.get("stages", {}).values()
        for out in entry.get("outs", ())
        if out["path"] == name
    ]
    if not known:
        return Line("MISS", (name, "dvc.lock does not know it"))
    if not path.exists():
        return Line("MISS", (name, "no such file"))
    same = hashlib.md5(path.read_bytes()).hexdigest() in known
    return Line(
        "PASS" if same else "MISS",
        (name, "as recorded" if same else "not the file that dvc.lock records"),
    )


def _listed(changes: Sequence[Any], kind: str) -> list[tuple[str, Any]]:
    return [
        item
        for change in changes
        if isinstance(change, Mapping)
        for item in (change.get(kind) or {}).items()
    ]


def _params(key: str, entry: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """Which leaves of a parameter differ from those that the stage ran with: `epochs 8 -> 9`."""
    ran = entry.get("params", {}).get("params.yaml", {})
    now: Any = params
    for word in key.split("."):
        now = now.get(word) if isinstance(now, Mapping) else None
    if key not in ran:
        return [f"{key} (new)"]
    return [
        f"{'.'.join(filter(None, (key, name)))} {old} -> {new}"
        for name, old, new in differences(ran[key], now)
    ]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
