"""Jobs in forks of this process: what they say, how they end, and that they can compute."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from captionseg.records import UserError
from captionseg.runtime.forks import is_fork, spread_forks
from captionseg.runtime.workers import ATTEMPTS


def ignore(*_: object) -> None:
    pass


def test_results_come_in_order_and_what_is_said_arrives() -> None:
    held = {"here": [1, 2, 3]}  # not sent: a fork has it

    def work(job: int, say) -> tuple[int, int, bool]:
        for value in held["here"]:
            say(job, value)
        time.sleep(0.2 if job == 0 else 0.0)
        return job, os.getpid(), is_fork()

    said = []
    found = list(spread_forks(work, range(3), 2, hear=lambda *values: said.append(values)))
    assert [job for job, *_ in found] == [0, 1, 2]
    assert len({process for _, process, _ in found} - {os.getpid()}) == 2
    assert all(inside for *_, inside in found)
    assert not is_fork()
    assert sorted(said) == [(job, value) for job in range(3) for value in (1, 2, 3)]
    assert not active_children()


def test_a_mistake_ends_the_other_jobs(tmp_path: Path) -> None:
    def work(job: int, say) -> None:
        say()  # this process has begun
        if job == 1:
            raise UserError("job 1: cannot be done; do another")
        time.sleep(60)
        (tmp_path / "late").touch()

    with pytest.raises(UserError, match=r"^job 1: cannot be done; do another$"):
        list(spread_forks(work, range(2), 2, hear=ignore))
    assert not active_children()
    assert not (tmp_path / "late").exists()


def test_a_killed_fork_costs_its_own_job_alone(tmp_path: Path) -> None:
    def work(job: int, say) -> int:
        with (tmp_path / str(job)).open("a") as stream:
            stream.write("begun\n")
        if job == 1 and (tmp_path / "1").read_text() == "begun\n":
            os.kill(os.getpid(), signal.SIGKILL)
        return job

    assert list(spread_forks(work, range(3), 2, hear=ignore)) == [0, 1, 2]
    begun = [len((tmp_path / str(job)).read_text().splitlines()) for job in range(3)]
    assert begun == [1, 2, 1]


def test_a_job_that_kills_every_fork_is_named() -> None:
    def work(job: int, say) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(UserError, match=rf"^seed 7: its worker died {ATTEMPTS} times") as caught:
        list(spread_forks(work, [7], 1, hear=ignore, called=lambda seed: f"seed {seed}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ignored", [False, True])
def test_under_nohup_forks_outlive_the_terminal_too(ignored: bool) -> None:
    def work(job: int, say) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return job

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        if ignored:
            assert list(spread_forks(work, range(2), 1, hear=ignore)) == [0, 1]
        else:
            with pytest.raises(UserError, match=f"^0: its worker died {ATTEMPTS} times"):
                list(spread_forks(work, range(2), 1, hear=ignore))
    finally:
        signal.signal(signal.SIGHUP, before)


ORPHANS = """
import os, signal, time
from captionseg.runtime.forks import spread_forks
def work(job, say):
    say(os.getpid())
    time.sleep(120)
def hear(pid):
    print(pid, flush=True)
list(spread_forks(work, range(2), 2, hear=hear))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_forks_end_with_their_parent_however_it_ends(number: int) -> None:
    command = [sys.executable, "-c", ORPHANS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        forks = {int(parent.stdout.readline()) for _ in range(2)}
        assert len(forks) == 2
        parent.send_signal(number)
        start = time.monotonic()
        assert parent.stdout.read() == ""  # until nobody holds the pipe any more
        assert time.monotonic() - start < 60


COMPUTE = """
import numpy as np, torch
from captionseg.runtime.forks import spread_forks
x = torch.rand(600, 600, generator=torch.Generator().manual_seed(0))
def work(job, say):
    torch.set_num_threads(2)
    return hash(((x @ x + job) @ x).numpy().tobytes()), hash((x.numpy() @ x.numpy()).tobytes())
torch.set_num_threads(2)
here = [work(job, print) for job in range(2)]  # this thread has helpers now
assert list(spread_forks(work, range(2), 2, hear=print)) == here
"""


def test_a_fork_computes_with_threads_after_its_parent_has() -> None:
    """OpenMP's helpers do not survive a fork; a fork that waits for them hangs."""
    environ = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE], env=environ, timeout=300, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
