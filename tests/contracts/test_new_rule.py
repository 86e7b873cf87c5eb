"""A rule of curation is added as CONTRIBUTING.md says, in a checkout whose lock is current."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.contracts.test_additions import add_rule
from tests.soak import checkout

FOLLOWS = {"segment_text", "pretrain", "evaluate"}
"""Stages that take supervision as files, so that a rule that nobody asks for is none of theirs."""


def dvc(root: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(
        command, cwd=root, env=checkout.environment(), capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


def stale(root: Path) -> set[str]:
    """Stages that would run, by the names that dvc.yaml gives them."""
    return {name.split("@")[0] for name in json.loads(dvc(root, "status", "--json"))}


def pretend(root: Path) -> None:
    """Something in the place of every dep and out that is not there, and a lock that knows it."""
    from dvc.repo import Repo

    with Repo(str(root)) as repository:
        stages = list(repository.index.stages)
        paths = [Path(e.fs_path) for stage in stages for e in (*stage.deps, *stage.outs)]
    for path in paths:
        file = path if path.suffix else path / "something"
        if not path.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}\n")
    dvc(root, "commit", "-q", "-f")


def test_a_new_rule_trains_nothing_again(tmp_path):
    root = checkout.make(tmp_path / "checkout")
    pretend(root)
    assert not stale(root)
    add_rule(root)
    found = stale(root)
    assert "curate" in found
    assert not found & FOLLOWS
