"""Reads what the gate needs from git and DVC; checks out, writes and fetches nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from captionseg.records import UserError, one_line
from captionseg.storage.yaml_numbers import NumberLoader

MAIN = ("origin/main", "main")


@dataclass(frozen=True)
class Base:
    """The commit to compare with, and how it was found."""

    commit: str
    about: str


def find_base(root: Path, name: str | None, files: Sequence[str] = ()) -> Base | None:
    """Find the commit to compare with.

    Args:
        root: the repository.
        name: a branch, tag or commit. None takes the commit where this branch left main; on main
            the last commit if any of `files` is modified, otherwise the commit before it. All
            zeros, which hosts send for a new branch, mean no commit.
        files: paths from the root.

    Returns:
        the commit, or None if there is none.

    Raises:
        UserError: no git, no repository, no such commit, or a shallow clone that lacks it.
    """
    if name is not None and not name.strip("0"):
        return None
    code, _, message = run_git(root, "rev-parse", "--git-dir")
    if code:
        raise UserError(
            f"{root.resolve()}: {message or 'not a git repository'}; `--only thresholds` works "
            "without one"
        )
    if name is None:
        return _find_default(root, files)
    commit = resolve_commit(root, name)
    if commit is None:
        raise UserError(f"--base {name}: {_no_such_commit(root)}")
    return Base(commit, name)


def _find_default(root: Path, files: Sequence[str]) -> Base | None:
    head = resolve_commit(root, "HEAD")
    if head is None:
        return None
    for main in MAIN:
        if resolve_commit(root, main) is None:
            continue
        code, fork, _ = run_git(root, "merge-base", main, "HEAD")
        if code == 0 and fork != head:
            return Base(fork, f"where this branch left {main}")
        if code and is_shallow(root):
            raise UserError(f"{main}: {_no_such_commit(root)}")
    if run_git(root, "diff", "--quiet", "HEAD", "--", *files)[0] == 1:
        return Base(head, "the last commit")
    before = resolve_commit(root, "HEAD~1")
    if before is None and is_shallow(root):
        raise UserError(f"the commit before HEAD: {_no_such_commit(root)}")
    return Base(before, "the commit before") if before else None


def resolve_commit(root: Path, name: str) -> str | None:
    """Return the commit that a name refers to, or None."""
    code, commit, _ = run_git(
        root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )
    return commit if code == 0 else None


def is_shallow(root: Path) -> bool:
    """Return whether the clone is shallow."""
    return run_git(root, "rev-parse", "--is-shallow-repository")[1] == "true"


def _no_such_commit(root: Path) -> str:
    if is_shallow(root):
        return (
            "not in this shallow clone; run `git fetch --unshallow` (in a workflow: fetch-depth: 0)"
        )
    return "no such commit here; run `git fetch origin`"


def read_committed(root: Path, commit: str, path: str) -> str | None:
    """Return the text of a file in a commit, by its path from the root; None if it has none."""
    code, text, _ = run_git(root, "show", f"{commit}:./{path}")
    return text if code == 0 else None


def run_git(root: Path, *words: str) -> tuple[int, str, str]:
    """Run git; return its exit code, its output and its last line on stderr.

    Raises:
        UserError: git is not installed.
    """
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=root,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise UserError("git: not installed; install it, or use `--only thresholds`") from None
    return done.returncode, done.stdout.strip(), (done.stderr.strip().splitlines() or [""])[-1]


def read_dvc_status(root: Path) -> dict[str, Any]:
    """Return the output of `dvc status`: the changes of each stage that differs from dvc.lock.

    Raises:
        UserError: DVC fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"],
        cwd=root,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        status = json.loads(done.stdout)
    except json.JSONDecodeError:
        status = None
    if done.returncode or not isinstance(status, dict):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        lines = lines or [f"exit code {done.returncode}"]
        error = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise UserError(f"dvc status: {error}")
    return status


def parse_metrics(text: str, where: str) -> dict[str, Any]:
    """Parse metrics.json.

    Raises:
        UserError: if it is not a JSON object.
    """
    try:
        metrics = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON: {error}") from None
    if not isinstance(metrics, dict):
        raise UserError(f"{where}: expected a JSON object with names and numbers")
    return metrics


def parse_yaml(text: str | None, where: str) -> dict[str, Any]:
    """Parse a YAML mapping, such as dvc.lock; empty if there is no file.

    Raises:
        UserError: if it is invalid, for example because of merge conflict markers.
    """
    try:
        values = yaml.load(text or "", NumberLoader) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a YAML mapping of names to values")
    return values


def read_yaml(path: Path, name: str) -> dict[str, Any]:
    """Read a YAML mapping from a file, called `name` in messages; empty if there is no file.

    Raises:
        UserError: if it is invalid.
    """
    return parse_yaml(path.read_text(encoding="utf-8") if path.exists() else None, name)
