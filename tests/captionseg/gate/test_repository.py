"""Which commit is the base, in repositories of all kinds."""

import subprocess

import pytest

from captionseg.gate import repository
from captionseg.gate.repository import find_base, read_committed, read_dvc_status
from captionseg.records import UserError


def git(root, *words):
    done = subprocess.run(
        [
            "git",
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "protocol.file.allow=always",
            *words,
        ],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit(root, text):
    (root / "m.json").write_text(text)
    git(root, "add", "m.json")
    git(root, "commit", "-qm", text)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path):
    """main with two commits."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    commit(root, "1")
    commit(root, "2")
    return root


def test_a_branch_is_compared_with_where_it_left_main(root):
    fork = git(root, "rev-parse", "HEAD")
    git(root, "checkout", "-qb", "work")
    commit(root, "3")
    git(root, "checkout", "-q", "main")
    commit(root, "4")
    git(root, "checkout", "-q", "work")
    found = find_base(root, None, ["m.json"])
    assert (found.commit, found.about) == (fork, "where this branch left main")
    assert read_committed(root, found.commit, "m.json") == "2"
    assert read_committed(root, found.commit, "none.json") is None


def test_the_main_of_the_server_comes_first(root, tmp_path):
    git(root, "clone", "-q", ".", str(tmp_path / "clone"))
    theirs = git(root, "rev-parse", "HEAD")
    commit(tmp_path / "clone", "3")
    assert find_base(tmp_path / "clone", None).commit == theirs


def test_on_main_it_is_the_commit_before_or_the_last_while_there_is_work_on_it(root):
    assert find_base(root, None, ["m.json"]).commit == git(root, "rev-parse", "HEAD~1")
    (root / "m.json").write_text("5")
    assert find_base(root, None, ["m.json"]).commit == git(root, "rev-parse", "HEAD")


def test_there_may_be_none(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main")
    assert find_base(tmp_path, None) is None
    commit(tmp_path, "1")
    assert find_base(tmp_path, None, ["m.json"]) is None
    assert find_base(tmp_path, "0" * 40) is None


def test_what_is_asked_for_is_taken_as_it_is(root):
    git(root, "tag", "v1", "HEAD~1")
    assert find_base(root, "v1") == repository.Base(git(root, "rev-parse", "HEAD~1"), "v1")
    with pytest.raises(
        UserError, match=r"^--base nobody: no such commit here; run `git fetch origin`"
    ):
        find_base(root, "nobody")
    with pytest.raises(UserError, match=r"^--base --all: no such commit"):
        find_base(root, "--all")


def test_a_shallow_clone_says_how_to_get_the_rest(root, tmp_path):
    old = git(root, "rev-parse", "HEAD~1")
    git(tmp_path, "clone", "-q", "--depth", "1", root.as_uri(), "shallow")
    for asked in (old, None):
        with pytest.raises(
            UserError, match=r"not in this shallow clone; run `git fetch --unshallow`"
        ):
            find_base(tmp_path / "shallow", asked)


def test_without_repository_or_git_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match="not a git repository") as caught:
        find_base(tmp_path, None)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^git: not installed"):
        find_base(tmp_path, None)


def test_what_dvc_cannot_read_is_one_line(tmp_path):
    with pytest.raises(
        UserError, match=r"^dvc status: ERROR: .*not inside of a DVC repository"
    ) as caught:
        read_dvc_status(tmp_path)
    assert "\n" not in str(caught.value)
