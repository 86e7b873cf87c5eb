"""Git commands that no configuration of the user changes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Overrides the user's configuration of diffs, so that `git apply` understands them.
DIFF = (
    "diff",
    "--binary",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-relative",
    "--submodule=short",
    "--unified=3",
    "--inter-hunk-context=0",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
# No hooks and no background tasks, because the copy is deleted soon.
PLAIN = [
    word
    for setting in (
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "gc.auto=0",
        "maintenance.auto=false",
        "protocol.file.allow=always",
        "commit.gpgSign=false",
        "core.quotePath=false",
    )
    for word in ("-c", setting)
]
# Set in hooks; they would make git use another repository.
LEADS = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
)


class WorkspaceError(Exception):
    """The workspace cannot be made, for example without a commit; one line."""


def run_git(folder: Path, *words: str, stdin: bytes | None = None) -> bytes:
    """Run a git command and return its output.

    Raises:
        WorkspaceError: it failed; with its error message.
    """
    try:
        done = subprocess.run(
            ["git", *PLAIN, *words],
            cwd=folder,
            capture_output=True,
            input=stdin,
            env=clean_environment(),
        )
    except OSError as error:
        raise WorkspaceError(f"git {words[0]} in {folder}: {error.strerror}") from None
    if done.returncode:
        reason = (
            " ".join(done.stderr.decode(errors="replace").split())[-400:]
            or f"exit code {done.returncode}"
        )
        raise WorkspaceError(f"git {words[0]} in {folder}: {reason}")
    return done.stdout


def find_prefix(root: Path) -> Path:
    """Return the path of `root` within its git repository, which may contain more than this
    project.

    Raises:
        WorkspaceError: it is in no repository.
    """
    try:
        return Path(
            run_git(root, "rev-parse", "--show-prefix")
            .decode(errors="surrogateescape")
            .rstrip("\n")
        )
    except WorkspaceError as error:
        raise WorkspaceError(
            f"{error}; a run with overrides needs git to copy the checkout: run `git init && git "
            "add -A && git commit -m start`, or change params.yaml and run without overrides"
        ) from None


def clean_environment() -> dict[str, str]:
    """Return our environment without variables that make git use another repository."""
    return {**{k: v for k, v in os.environ.items() if k not in LEADS}, "DVC_NO_ANALYTICS": "1"}
