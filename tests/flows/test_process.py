import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows import process
from flows.process import TooLate, run


def sh(script, said, tmp_path, **options):
    return run(["sh", "-c", script], said.append, cwd=tmp_path, env=dict(os.environ), **options)


def alive(path):
    """Whether the process whose pid was written there runs (what nobody has waited for yet does
    not).
    """
    try:
        return psutil.Process(int(path.read_text())).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_output_is_heard_line_by_line_while_it_runs(tmp_path):
    heard = []

    def say(line):
        heard.append(line)
        (
            tmp_path / line
        ).touch()  # the command waits for this: it would never end if nobody heard it

    script = (
        "echo one; while [ ! -e one ]; do sleep 0.01; done; echo two >&2; printf 'three\\rfour'; "
        "exit 3"
    )
    assert run(["sh", "-c", script], say, cwd=tmp_path, env=dict(os.environ), timeout=30) == 3
    assert heard == ["one", "two", "three", "four"]


def test_output_that_is_no_text_does_not_stop_it(tmp_path):
    said = []
    assert sh(r"printf '\377\n'; echo after", said, tmp_path) == 0
    assert said[-1] == "after"


def test_the_environment_is_the_one_given(tmp_path):
    said = []
    run(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"],
        said.append,
        cwd=tmp_path,
        env={"A": "1"},
    )
    assert "'A'" in said[0]
    assert "HOME" not in said[0]


def test_a_timeout_ends_the_children_too(tmp_path):
    started = time.monotonic()
    with pytest.raises(TooLate, match=r"timed out after 2.5 s"):
        sh("sleep 60 & echo $! > child; sleep 60", [], tmp_path, timeout=2.5)
    assert time.monotonic() - started < 55
    assert not alive(tmp_path / "child")


def test_who_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "GRACE", 0.3)
    with pytest.raises(TooLate):
        sh(
            "trap '' TERM; echo $$ > child; while true; do sleep 0.1; done",
            [],
            tmp_path,
            timeout=2.5,
        )
    assert not alive(tmp_path / "child")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_any_exception_here_ends_them(tmp_path, error):
    def say(line):
        raise error

    with pytest.raises(error):
        run(
            ["sh", "-c", "echo $$ > child; echo go; sleep 60"],
            say,
            cwd=tmp_path,
            env=dict(os.environ),
        )
    assert not alive(tmp_path / "child")


def test_what_a_command_leaves_behind_is_ended(tmp_path):
    assert sh("sleep 60 & echo $! > child", [], tmp_path) == 0
    assert not alive(tmp_path / "child")


RUNS = """
import os, sys
from pathlib import Path
from flows.process import run
script = "trap '' TERM; echo $$ > child; while true; do sleep 0.1; done"
run(["sh", "-c", script], print, cwd=Path(), env=os.environ)
"""


def test_a_command_ends_though_who_runs_it_was_killed(tmp_path, monkeypatch):
    """It says nothing, so no broken pipe tells it; and it ignores SIGTERM."""
    program = (
        f"from flows import process; process.GUARD = process.GUARD.replace('10.0', '0.3'){RUNS}"
    )
    runner = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    child, end = tmp_path / "child", time.monotonic() + 240
    while not (child.exists() and child.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.02)
    runner.kill()
    runner.wait()
    end = time.monotonic() + 240
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 7", 7), ("kill -TERM $$", -15), ("kill -KILL $$", -9)]
)
def test_the_code_is_that_of_the_command(tmp_path, script, code):
    assert sh(script, [], tmp_path) == code
