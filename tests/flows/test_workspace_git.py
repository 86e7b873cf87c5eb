"""Copies where git is set up otherwise, of a folder in a larger repository, and without any git."""

import configparser
import hashlib
import shutil
import sys

import pytest
import yaml

from flows.git_commands import WorkspaceError, run_git
from flows.plan import PlanError, read
from flows.workspace import COPIES, Job, workspace
from tests.flows.conftest import DAG, sh

SETTINGS = """
[commit]
  gpgSign = true
[gpg]
  program = false
[diff]
  noprefix = true
  external = false
  relative = true
  context = 0
  mnemonicPrefix = true
  renames = copies
  submodule = log
[color]
  ui = always
[core]
  quotePath = true
  hooksPath = %s
  pager = false
  fsmonitor = true
[user]
  useConfigOnly = true
[apply]
  whitespace = error
[clone]
  rejectShallow = true
[protocol "file"]
  allow = never
[fetch]
  prune = true
"""


def test_what_git_is_told_elsewhere_does_not_matter(root, tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in (
        "post-checkout",
        "pre-commit",
        "prepare-commit-msg",
        "post-commit",
        "reference-transaction",
    ):
        (hooks / name).write_text("#!/bin/sh\necho no; exit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "gitconfig").write_text(SETTINGS % hooks)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    for name, value in (
        ("GIT_DIR", "/nowhere"),
        ("GIT_INDEX_FILE", "/nowhere/index"),
        ("GIT_EXTERNAL_DIFF", "false"),
        ("PAGER", "false"),
        ("LC_ALL", "C"),
        ("SHELL", "/bin/false"),
    ):
        monkeypatch.setenv(name, value)
    (root / "params.yaml").write_text("n: 2\nm: {k: 2}\n")
    (root / "zażółć gęślą.txt").write_text("trailing  \n")
    run_git(root, "add", "--", "zażółć gęślą.txt")
    with workspace(root, Job("k", "x", ["m.k=3"]), print) as copy:
        assert "n: 2" in (copy / "params.yaml").read_text()
        assert (copy / "zażółć gęślą.txt").read_text() == "trailing  \n"
    assert len(run_git(root, "for-each-ref", "refs/exps").splitlines()) == 1


def test_a_project_in_a_folder_of_a_larger_repository(repository, tmp_path):
    """Its neighbours have changes, too; its cache and its remotes are found from the copy."""
    top = tmp_path / "mono repo [1] ü"
    top.mkdir()
    sh("git init -q && echo 1 > other.txt", top)
    root = repository(DAG).rename(top / "sub")
    shutil.rmtree(root / ".git")
    (root / "params.yaml").write_text("n: 1\nm: {k: 2}\n")
    (root / ".gitignore").write_text("/a.txt\n")
    with (
        pytest.raises(WorkspaceError, match="git rev-parse"),
        workspace(root, Job("k", "x", ["n=2"]), print),
    ):
        pass
    sh("git add other.txt && git -c user.name=t -c user.email=t@t commit -qm t", top)
    untracked = pytest.raises(
        WorkspaceError, match=r"sub is not committed in the repository .*; commit it"
    )
    with untracked, workspace(root, Job("k", "x", ["n=2"]), print):
        pass
    dvc = f"{sys.executable} -m dvc"
    sh(
        f"{dvc} remote add -d store ../store && {dvc} config --local remote.store.url ../store2",
        root,
    )
    sh(f"{dvc} repro -q && git add -A . && git -c user.name=t -c user.email=t@t commit -qm t", root)
    (root / "params.yaml").write_text("n: 3\nm: {k: 2}\n")
    (top / "other.txt").write_text("2\n")
    with workspace(root, Job("k", "night", ["m.k=4"]), print) as copy:
        assert copy == root / COPIES / "flow-k" / "sub"
        assert yaml.safe_load((copy / "params.yaml").read_text()) == {"n": 3, "m": {"k": 4}}
        assert (copy.parent / "other.txt").read_text() == "2\n"
        local = configparser.ConfigParser()
        local.read(copy / ".dvc" / "config.local")
        for section, key, place in (
            ("cache", "dir", root / ".dvc" / "cache"),
            ("'remote \"store\"'", "url", top / "store2"),
        ):
            assert not local[section][key].startswith("/"), "it may move"
            assert (copy / ".dvc" / local[section][key]).resolve() == place.resolve()
        sh(f"{dvc} repro -q", copy)
    (name,) = sh(f"{dvc} exp list --name-only", root).split()
    assert name == "night-k"
    ref = sh("git for-each-ref --format='%(refname)' refs/exps", root).strip()
    assert "k: 4" in sh(f"git show {ref}:sub/params.yaml", top)
    made = hashlib.md5(b"3\n").hexdigest()
    assert (root / ".dvc" / "cache" / "files" / "md5" / made[:2] / made[2:]).exists()


def test_a_folder_without_git_is_one_line_that_says_what_to_do(repository):
    root = repository(DAG)
    shutil.rmtree(root / ".git")
    (root / "params.yaml").write_text("n: 1\n")
    no_copy = pytest.raises(WorkspaceError, match="`git init && git add -A")
    with no_copy as caught, workspace(root, Job("k", "x", ["n=2"]), print):
        pass
    assert "\n" not in str(caught.value)
    with pytest.raises(
        PlanError, match=r"is not a git repository; run `git init`, or .* core.no_scm true`$"
    ):
        read(root)
    sh(f"{sys.executable} -m dvc config --local core.no_scm true", root)
    assert [stage.name for stage in read(root)] == ["a"]
    with workspace(root, Job("k", "x"), print) as folder:
        assert folder == root


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    missing = pytest.raises(WorkspaceError, match="nope: no such folder")
    with missing, workspace(tmp_path / "nope", Job("k", "x"), print):
        pass
    assert not (tmp_path / "nope").exists()


def test_a_repository_without_a_commit_is_one_line(repository):
    root, job = repository(DAG), Job("k", "x", ["n=1"])
    with pytest.raises(WorkspaceError, match="git rev-parse"), workspace(root, job, print):
        pass
