"""What the gate asks git and DVC. Nothing is checked out, written or fetched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionseg.records import UserError

MAIN = ("origin/main", "main")


@dataclass(frozen=True)
class Base:
    """The commit to compare with, and how it was found."""

    commit: str
    about: str


def base(root: Path, asked: str | None, files: Sequence[str] = ()) -> Base | None:
    """The commit that this work is compared with.

    Args:
        root: the repository.
        asked: a branch, tag or commit; None: where this branch left main; on main the last commit
            if any of `files` is not committed, else the commit before. Zeros, as hosts say of a
            branch that is new, are no commit.
        files: paths from the root.

    Returns:
        None where there is none.

    Raises:
        UserError: no git, no repository, no such commit, or a shallow clone that ends before it.
    """
    if asked is not None and not asked.strip("0"):
        return None
    code, _, said = git(root, "rev-parse", "--git-dir")
    if code:
        raise UserError(
            f"{root.resolve()}: {said or 'not a git repository'}; `--only thresholds` needs none"
        )
    if asked is not None:
        found = commit(root, asked)
        if found is None:
            raise UserError(f"--base {asked}: {_no_such_commit(root)}")
        return Base(found, asked)
    return _default(root, files)


def _default(root: Path, files: Sequence[str]) -> Base | None:
    head = commit(root, "HEAD")
    if head is None:
        return None
    shallow = git(root, "rev-parse", "--is-shallow-repository")[1] == "true"
    for main in MAIN:
        if commit(root, main) is None:
            continue
        code, fork, _ = git(root, "merge-base", main, "HEAD")
        if code == 0 and fork != head:
            return Base(fork, f"where this left {main}")
        if code and shallow:
            raise UserError(f"{main}: {_no_such_commit(root)}")
    if git(root, "diff", "--quiet", "HEAD", "--", *files)[0] == 1:
        return Base(head, "the last commit")
    before = commit(root, "HEAD~1")
    if before is None and shallow:
        raise UserError(f"the commit before HEAD: {_no_such_commit(root)}")
    return Base(before, "the commit before") if before else None


def commit(root: Path, name: str) -> str | None:
    """The commit of a name, if it is here."""
    code, found, _ = git(
        root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )
    return found if code == 0 else None


def _no_such_commit(root: Path) -> str:
    if git(root, "rev-parse", "--is-shallow-repository")[1] == "true":
        return "not in this shallow clone; `git fetch --unshallow` (in a workflow: fetch-depth: 0)"
    return "no such commit here; `git fetch origin` gets those of the server"


def read(root: Path, at: str, path: str) -> str | None:
    """A file of a commit, by its path from the root; None if the commit has none."""
    code, text, _ = git(root, "show", f"{at}:./{path}")
    return text if code == 0 else None


def git(root: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, output, and the last line of errors.

    Raises:
        UserError: there is no git.
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
        raise UserError("git: no such program; install it, or take `--only thresholds`") from None
    return done.returncode, done.stdout.strip(), (done.stderr.strip().splitlines() or [""])[-1]


def status(root: Path) -> dict[str, Any]:
    """`dvc status`: for each stage that is not as dvc.lock has it what changed.

    Raises:
        UserError: DVC cannot tell.
    """
    environ = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"],
        cwd=root,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        found = None
    if done.returncode or not isinstance(found, dict):
        said = [line for line in done.stderr.splitlines() if line.strip()] or [
            f"exit code {done.returncode}"
        ]
        raise UserError(
            f"dvc status: {next((line for line in said if line.startswith('ERROR')), said[-1])}"
        )
    return found
