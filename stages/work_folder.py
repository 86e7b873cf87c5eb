"""The work folder of a stage, named by the hash of all that determines its outputs."""

from __future__ import annotations

import hashlib
import json
import typing
from pathlib import Path

from captionseg.params import Params
from captionseg.records import UserError
from stages.kinds import In, Out, Renewed

MOVED = (Out, Renewed)
LENT = Path(".work") / "lent"
"""What index lends to segment_text, see `captionseg.feature_reuse.find_lent`."""


def plan_places(
    name: str, params: Params, stage: typing.Any, arguments: dict, kinds: dict, *, root: Path
) -> tuple[Path, dict[str, Path]]:
    """Return the work folder of a run, and the paths of its outputs inside, by argument.

    Raises:
        UserError: if two outputs would have the same path.
    """
    work = root / ".work" / name / hash_work(params, stage.PARAMS, arguments, kinds)
    parts = {key: work / arguments[key].name for key, kind in kinds.items() if kind in MOVED}
    if len(set(parts.values())) < len(parts):
        raise UserError(
            f"{name}: outputs must have different names, found "
            f"{', '.join(p.name for p in parts.values())}"
        )
    return work, parts


def select_params(params: Params, names: tuple[str, ...], words: dict) -> dict[str, object]:
    """Return the values of a stage's PARAMS: sections or dotted names, in which {word} is replaced
    by an argument.
    """
    values = {}
    for name in names:
        parts, value = [part.format(**words) for part in name.split(".")], params.raw
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        values[".".join(parts)] = value
    return values


def hash_work(params: Params, names: tuple[str, ...], arguments: dict, kinds: dict) -> str:
    """Hash everything that determines a stage's outputs: params, state of the inputs, and code."""
    state = [json.dumps(select_params(params, names, arguments), sort_keys=True)]
    state += [f"{k}={v}" for k, v in sorted(arguments.items())]
    roots = [arguments[k] for k, kind in kinds.items() if kind is In]
    roots += [Path(__file__).parent, Path(__file__).parents[1] / "captionseg"]
    for top in roots:
        files = (
            [top]
            if top.is_file()
            else sorted(p for p in top.rglob("*") if p.is_file() and p.suffix != ".pyc")
        )
        # relative paths, so that a checkout can be moved
        for status, path in ((p.stat(), p.relative_to(top)) for p in files):
            state.append(f"{top.name}/{path}:{status.st_size}:{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
