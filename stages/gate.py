"""gate: may this run be merged? Checks thresholds, regressions against the base, and dvc.lock.

python -m stages.gate [--base REF] [--only thresholds regression lock] [--markdown FILE]

Needs a git checkout, but no data. Exit code: 0 passed, 1 failed, 2 could not run.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from captionseg.gate import repository
from captionseg.gate.findings_table import (
    Section,
    render_comment,
    render_failure,
    render_terminal,
    summarize,
)
from captionseg.gate.lock import check_lock
from captionseg.gate.regression import HEAD, Run, check_regression
from captionseg.gate.thresholds import check_thresholds
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.storage.writing import atomic_path

CHECKS = ("thresholds", "regression", "lock")
LINKED = ("reports/metrics.json", "reports/comparison.md")


def main(argv: list[str] | None = None, *, root: Path = Path()) -> int:
    """Run the gate; 0 if it passes, 1 if it fails, 2 after one line on stderr if it cannot run."""
    options = parse_arguments(argv)
    try:
        sections, extra = check(options, root)
    except UserError as error:
        write_comment(options.markdown, render_failure(error))
        print(f"error: {error}", file=sys.stderr)
        return 2
    links = {name: f"{options.links}{name}" for name in LINKED if (root / name).exists()}
    write_comment(options.markdown, render_comment(sections, extra=extra, links=links))
    print(*render_terminal(sections), sep="\n")
    return 0 if summarize(sections)[0] else 1


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.gate", description="Check whether this run may be merged."
    )
    parser.add_argument(
        "--metrics",
        default=LINKED[0],
        help="path from the root of the repository (default: %(default)s)",
    )
    parser.add_argument(
        "--params",
        default="params.yaml",
        help="path from the root of the repository (default: %(default)s)",
    )
    parser.add_argument(
        "--base",
        default=os.environ.get("GATE_BASE") or None,
        metavar="REF",
        help="branch or commit to compare with (default: $GATE_BASE, otherwise the commit where "
        "this branch left main)",
    )
    parser.add_argument(
        "--only", nargs="+", choices=CHECKS, default=CHECKS, help="run only these checks"
    )
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="also write the result as Markdown, for a comment on a pull request",
    )
    parser.add_argument(
        "--links", default="", metavar="PREFIX", help="prefix of the links in the comment"
    )
    return parser.parse_args(argv)


def write_comment(path: Path | None, text: str) -> None:
    """Write the comment, if a path is given."""
    if path is not None:
        with atomic_path(path) as part:
            part.write_text(text, encoding="utf-8")


def check(options: argparse.Namespace, root: Path) -> tuple[list[Section], list[Section]]:
    """Run the chosen checks; return their sections and tables that explain them."""
    params, path = Params(root / options.params), root / options.metrics
    if not path.exists():
        raise UserError(f"{path}: no such file; run `dvc repro` first")
    metrics = repository.parse_metrics(path.read_text(encoding="utf-8"), str(path))
    sections, extra = [], []
    if "thresholds" in options.only:
        sections.append(check_thresholds(params.gate, metrics, f"{options.params}: gate"))
    if "regression" in options.only:
        regression, extra = compare(params, metrics, options, root)
        sections.append(regression)
    if "lock" in options.only:
        lock = repository.read_yaml(root / "dvc.lock", "dvc.lock")
        status = repository.read_dvc_status(root)
        sections.append(check_lock(status, lock, params.raw, {options.metrics: path}))
    return sections, extra


def compare(
    params: Params, metrics: dict[str, Any], options: argparse.Namespace, root: Path
) -> tuple[Section, list[Section]]:
    """Compare with the base; return the section and tables that explain it. The section is empty if
    there is nothing to compare with.
    """
    base = repository.find_base(root, options.base, (options.metrics, options.params))
    if base is None:
        return Section("Regression", "no earlier commit to compare with", HEAD, ()), []
    about = f"against {base.commit[:9]}, {base.about}"
    earlier = repository.read_committed(root, base.commit, options.metrics)
    if earlier is None:
        about += f", has no {options.metrics}: nothing to compare with"
        return Section("Regression", about, HEAD, ()), []
    if not params.regression:
        about += f": nothing is compared, {options.params} has no section regression"
        return Section("Regression", about, HEAD, ()), []
    before = Run(
        repository.parse_metrics(earlier, f"{base.about}:{options.metrics}"),
        repository.parse_yaml(
            repository.read_committed(root, base.commit, options.params),
            f"{base.about}:{options.params}",
        ),
    )
    return check_regression(params.regression, Run(metrics, params.raw), before, about)


if __name__ == "__main__":
    sys.exit(main())
