"""make in folders as people have them: with any name, moved, copied, without git, under another
shell.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """A checkout with an environment that is none, whose python says what it is asked and by which
    SHELL.
    """
    root = tmp_path / 'it\'s a "test" [x] ü 100% #1'
    (root / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", root)
    for name in ("requirements.lock", "pyproject.toml"):
        (root / name).touch()
    (root / ".venv" / ".done").write_text(f"{root}\n")
    for name in ("python", "dvc"):
        path = root / ".venv" / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $* by $SHELL"\n')
        path.chmod(0o755)
    return root


def make(root, target, **environ):
    done = subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=root,
        capture_output=True,
        text=True,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "GIT_CEILING_DIRECTORIES": str(root.parent),
            **environ,
        },
    )
    return done.returncode, done.stdout, done.stderr


def test_without_git_one_line_says_what_to_do(folder):
    code, _, said = make(folder, "repro")
    assert code
    line = said.splitlines()[0]
    assert line.startswith("error: fatal: not a git repository")
    assert "git init" in line
    assert "core.no_scm true" in line
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    assert make(folder, "repro")[0] == 0
    (folder / ".dvc" / "config.local").unlink()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    assert make(folder, "flow") == (
        0,
        "python -m flows.reproduce\npython -m flows.reproduce by /bin/bash\n",
        "",
    )


def test_dvc_runs_commands_by_a_shell_that_knows_them(folder):
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    assert "dvc repro by /bin/bash\n" in make(folder, "repro", SHELL="/usr/sbin/nologin")[1]


def test_an_environment_that_was_moved_or_copied_is_made_anew(folder):
    """Its scripts and its editable install lead to where it was made, maybe to the code of another
    checkout.
    """
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    (copy / "requirements.lock").touch()
    code, said, _ = make(copy, "venv", MAKEFLAGS="n")
    assert code == 0
    assert f".venv was created in {folder}; creating it again here" in said
    assert "-m venv --clear .venv" in said
    said = make(folder, "venv", MAKEFLAGS="n")[1]
    assert "anew" not in said


def test_the_tools_of_tests_are_installed_for_tests_and_checks_alone(folder):
    for target, extra in (("repro", ""), ("gate", ""), ("test", ".[dev]"), ("check", ".[dev]")):
        code, said, _ = make(folder, target, MAKEFLAGS="n")
        assert code == 0
        assert ("--editable" in said) is bool(extra)
        assert extra in said
    (folder / ".venv" / ".dev").touch()
    assert "--editable" not in make(folder, "test", MAKEFLAGS="n")[1]
    (folder / ".venv" / ".done").unlink()
    said = make(folder, "repro", MAKEFLAGS="n")[1]
    assert '--constraint requirements.lock --editable ".[pipeline]"' in said
