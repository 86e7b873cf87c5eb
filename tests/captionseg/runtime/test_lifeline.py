"""Who is gone with whom: a process ends with the DVC, the parent or the maker that it works for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from captionseg.runtime import lifeline

STAGE = """
import os, signal, sys, time
from pathlib import Path
from captionseg.runtime.lifeline import follow_dvc

def told(*_):
    Path("told").touch()
    sys.exit(143)

signal.signal(signal.SIGTERM, told)
follow_dvc()
Path("part").write_text(str(os.getpid()))
Path("part").rename("stage")
while True:
    time.sleep(0.02)
"""
DVC = """
import os, subprocess, sys, threading
run = lambda: subprocess.run(["/bin/sh", "-c", sys.argv[1]], env=os.environ | {"DVC_STAGE": "toy"})
thread = threading.Thread(target=run)  # as DVC does from a queue
thread.start()
thread.join()
"""


def wait_for(true, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def started(tmp_path):
    """(process that plays DVC, pid of the stage that it runs by way of a shell)."""
    (tmp_path / "stage.py").write_text(STAGE)
    # `true` keeps the shell from becoming the stage
    command = f"exec 3>&1; {sys.executable} stage.py; true"
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-c", DVC, command], cwd=tmp_path, env=environ, stderr=subprocess.DEVNULL
    )
    wait_for((tmp_path / "stage").exists)
    pid = int((tmp_path / "stage").read_text())
    yield process, pid
    for number in (process.pid, pid):
        if lives(number):
            os.kill(number, signal.SIGKILL)
    process.wait()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them"
)
@pytest.mark.parametrize(
    ("who", "number"), [("dvc", signal.SIGKILL), ("dvc", signal.SIGTERM), ("shell", signal.SIGKILL)]
)
def test_a_stage_ends_with_the_dvc_that_runs_it(started, tmp_path, who, number):
    """Also where a shell stands between them, and that lives on or is what dies."""
    dvc, stage = started
    assert parent_of(stage) != dvc.pid, "there is a shell in between"
    os.kill(dvc.pid if who == "dvc" else parent_of(stage), number)
    wait_for(lambda: not lives(stage))
    assert (tmp_path / "told").exists(), "it had the time to end well"


def test_what_is_started_by_hand_follows_nobody():
    before = threading.active_count()
    lifeline.follow_dvc({})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getppid", lambda: 0)  # in a container whose first process this is
        lifeline.follow_dvc({"DVC_STAGE": "toy"})
    lifeline.follow_maker()  # nobody has made this process
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("pid", "name", "words", "orphans"),
    [
        (1, "init", ["/sbin/init"], True),
        (812, "systemd", ["/lib/systemd/systemd", "--user"], True),
        (1, "sh", ["sh", "entry.sh"], True),
        (1, "dvc", ["/opt/dvc/dvc", "repro"], False),
        (1, "python", ["/usr/bin/python3.11", "-m", "dvc", "repro"], False),
        (50, "bash", ["bash"], False),
    ],
)
def test_who_has_orphans(pid, name, words, orphans):
    """A stage whose DVC was gone before it could look is found with one of those."""
    assert lifeline.is_reaper(pid, name, words) is orphans


MAKER = """
import multiprocessing, os, sys, time
from pathlib import Path
from captionseg.runtime.lifeline import follow_maker

def work():
    follow_maker()
    Path("part").write_text(str(os.getpid()))
    Path("part").rename("worker")
    while True:
        time.sleep(0.02)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    context.Process(target=work).start()
    time.sleep(600)
"""


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them"
)
@pytest.mark.parametrize("how", ["spawn", "fork"])  # as shards and as batches are made
def test_a_worker_ends_with_its_maker(tmp_path, how):
    (tmp_path / "maker.py").write_text(MAKER)
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "maker.py", how], cwd=tmp_path, env=environ)
    wait_for((tmp_path / "worker").exists)
    process.kill()
    process.wait()
    pid = int((tmp_path / "worker").read_text())
    wait_for(lambda: not lives(pid))
