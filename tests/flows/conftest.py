"""A server of Prefect's for all flow tests, and small DVC repositories whose stages are shell
commands.
"""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

import flows  # noqa: F401  telemetry off, before Prefect is imported
from tests.dvc_repository import init_dvc

DAG = """
stages:
  a:
    cmd: echo ${n} > a.txt
    params: [n]
    outs: [a.txt]
"""


def forget_services_of_prefect():
    """Let a process that was forked from one where a flow ran end with exit code 0.

    Prefect has its services drained when the interpreter exits, and at a fork forgets what it needs
    for that: the exit then fails an assertion, and DataLoader takes its worker for a dead one.
    """
    hooks = threading._threading_atexits
    hooks[:] = [hook for hook in hooks if not hook.func.__module__.startswith("prefect.")]


os.register_at_fork(after_in_child=forget_services_of_prefect)


def sh(command, cwd):
    """What a shell command prints."""
    return subprocess.run(
        command, shell=True, cwd=cwd, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="session")
def server():
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("empty")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    init_dvc(root, git=True)
    (root / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n"
    )
    return root


@pytest.fixture
def repository(empty_repository, tmp_path, monkeypatch):
    """Makes a repository with this dvc.yaml; its cache and state are its own."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")

    def make(text: str) -> Path:
        root = shutil.copytree(empty_repository, tmp_path / "repository")
        (root / "dvc.yaml").write_text(text)
        return root

    return make


@pytest.fixture
def root(repository):
    """A committed repository of DAG, of which nothing has run yet."""
    root = repository(DAG)
    (root / "params.yaml").write_text("# why one\nn: 1\nm: {k: 2}\n")
    (root / ".gitignore").write_text("/a.txt\n")
    sh("git add -A && git -c user.name=t -c user.email=t@t commit -qm t", root)
    return root
