"""gate: is this run fit to be merged? Thresholds, no regression against the base branch, dvc.lock
of this code.

python -m stages.gate [--base REF] [--only thresholds regression lock] [--markdown FILE]

Needs git and the files that it holds, no data. Exits with 0 if all holds, 1 on a miss, 2 if it
cannot be judged.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from captionseg.params import Params
from captionseg.records import UserError, one_line
from captionseg.reporting import gate_lock, gate_regression, gate_repository
from captionseg.reporting.data import Data
from captionseg.reporting.gate import table
from captionseg.reporting.gate_table import Part, markdown, terminal, unjudged, verdict
from captionseg.storage.writing import atomic_path

PARTS = ("thresholds", "regression", "lock")
READ = ("reports/metrics.json", "reports/comparison.md")


def main(argv: list[str] | None = None, *, root: Path = Path()) -> int:
    """Entry point: 0 if everything holds, 1 on a miss, 2 after one line if it cannot be judged."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.gate", description="Is this run fit to be merged?"
    )
    parser.add_argument(
        "--metrics", default=READ[0], help="from the root of the repository (default: %(default)s)"
    )
    parser.add_argument("--params", default="params.yaml", help="likewise (default: %(default)s)")
    parser.add_argument(
        "--base",
        default=os.environ.get("GATE_BASE") or None,
        metavar="REF",
        help="branch or commit to compare with (default: $GATE_BASE, else where this left main)",
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, help="leave out the others"
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write it as a comment on a pull request, too"
    )
    parser.add_argument(
        "--links", default="", metavar="PREFIX", help="what stands before the comment's links"
    )
    arguments = parser.parse_args(argv)
    try:
        parts, extra = look(arguments, root)
    except UserError as error:
        publish(arguments.markdown, unjudged(error))
        print(f"error: {error}", file=sys.stderr)
        return 2
    links = {name: f"{arguments.links}{name}" for name in READ if (root / name).exists()}
    publish(arguments.markdown, markdown(parts, extra=extra, links=links))
    print(*terminal(parts), sep="\n")
    return 0 if verdict(parts)[0] else 1


def publish(path: Path | None, text: str) -> None:
    """Write the comment, if there is to be one."""
    if path is not None:
        with atomic_path(path) as part:
            part.write_text(text, encoding="utf-8")


def look(arguments: argparse.Namespace, root: Path) -> tuple[list[Part], list[Part]]:
    """The parts of the gate that were asked for, and the tables that only explain them."""
    params, path = Params(root / arguments.params), root / arguments.metrics
    if not path.exists():
        raise UserError(f"{path}: no such file; run `dvc repro` first")
    metrics = loaded(path.read_text(encoding="utf-8"), str(path))
    parts, extra = [], []
    if "thresholds" in arguments.only:
        parts.append(table(params.gate, metrics, f"{arguments.params}: gate"))
    if "regression" in arguments.only:
        found = gate_repository.base(root, arguments.base, (arguments.metrics, arguments.params))
        regression, *extra = compared(params, metrics, found, arguments, root)
        parts.append(regression)
    if "lock" in arguments.only:
        lock = root / "dvc.lock"
        known = mapping(lock.read_text(encoding="utf-8") if lock.exists() else None, "dvc.lock")
        parts.append(
            gate_lock.part(
                gate_repository.status(root), known, params.raw, {arguments.metrics: path}
            )
        )
    return parts, extra


def compared(
    params: Params,
    metrics: dict[str, Any],
    base: gate_repository.Base | None,
    names: argparse.Namespace,
    root: Path,
) -> list[Part]:
    """The comparison with the base, and what explains it; an empty part where there is nothing to
    compare with.
    """
    if base is None:
        return [gate_regression.part([], "there is no earlier commit to compare with")]
    about = f"against {base.commit[:9]}, {base.about}"
    if (old := gate_repository.read(root, base.commit, names.metrics)) is None:
        return [
            gate_regression.part([], f"{about}, has no {names.metrics}: nothing to compare with")
        ]
    if not params.regression:
        return [
            gate_regression.part(
                [], f"{about}: {names.params} has no section regression, so nothing is compared"
            )
        ]
    before = loaded(old, f"{base.about}:{names.metrics}")
    earlier = mapping(
        gate_repository.read(root, base.commit, names.params), f"{base.about}:{names.params}"
    )
    now, then = (
        Data.of(found, (said.get("download") or {}).get("source", ""))
        for found, said in ((metrics, params.raw), (before, earlier))
    )
    if now.differs(then):
        return [
            gate_regression.other_data(now, then, about),
            gate_regression.parameters(params.raw, earlier),
        ]
    found = gate_regression.changes(params.regression, metrics, before, params.raw)
    return [
        gate_regression.part(found, about),
        gate_regression.largest(found),
        gate_regression.parameters(params.raw, earlier),
    ]


def loaded(text: str, where: str) -> dict[str, Any]:
    """metrics.json.

    Raises:
        UserError: if it is none.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{where}: expected names and numbers")
    return found


def mapping(text: str | None, where: str) -> dict[str, Any]:
    """A file of YAML, such as dvc.lock; empty where there is none.

    Raises:
        UserError: if it is broken, as by the marks of a merge that is not done.
    """
    try:
        found = yaml.safe_load(text or "") or {}
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {one_line(error)}") from None
    if not isinstance(found, dict):
        raise UserError(f"{where}: expected names and values")
    return found


if __name__ == "__main__":
    sys.exit(main())
