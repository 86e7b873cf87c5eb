"""Processes of this machine: what they see, and what does not reach them or come back. See
test_fan_out too.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fan_out_jobs as jobs
import psutil
import pytest

from captionseg.runtime import fan_out
from captionseg.runtime.fan_out import spread
from captionseg.runtime.params import RuntimeParams
from captionseg.runtime.processes import Processes, describe_exit

TWO = RuntimeParams(workers=2)


def test_what_cannot_be_imported_or_sent_is_told() -> None:
    with pytest.raises(RuntimeError, match="cannot be sent"):
        list(spread(jobs.unsendable, range(2), TWO))
    with pytest.raises(AttributeError, match="local object"):  # to the workers, even
        list(spread(lambda job: job, range(2), TWO))


def test_a_worker_sees_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "list_visible_gpus", lambda: ["3", "5"])
    found = list(
        spread(functools.partial(jobs.place, 0.2), range(2), RuntimeParams(), device="auto")
    )
    assert {gpu for _, _, gpu, _ in found} == {"3", "5"}


def test_ending_in_the_middle_leaves_no_process() -> None:
    workers = Processes(functools.partial(jobs.place, 60.0), [None, None], threads=1, called=str)
    workers.send(0, 0)
    processes = [worker.process for worker in workers.workers]
    assert all(process.is_alive() for process in processes)
    workers.close()
    with pytest.raises(ValueError, match="closed"):
        processes[0].is_alive()


ORPHANS = """
import functools, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import fan_out_jobs as jobs
from captionseg.runtime.processes import Processes

if __name__ == "__main__":
    hangs = functools.partial(jobs.hangs, Path(sys.argv[1]))
    workers = Processes(hangs, [None, None], threads=1, called=str)
    for number in range(2):
        workers.send(number, number)
    workers.receive()
"""


def test_workers_of_a_stage_that_is_killed_are_gone_in_the_middle_of_their_jobs(
    tmp_path: Path,
) -> None:
    """Else they would go on writing where the next run works."""
    (tmp_path / "orphans.py").write_text(ORPHANS)
    here = Path(__file__)
    process = subprocess.Popen(
        [sys.executable, "orphans.py", ".", str(here.parent)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(here.parents[3])},
    )
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    process.kill()
    process.wait()
    pids = [int(file.read_text()) for file in tmp_path.glob("*.pid")]
    wait_for(lambda: not any(map(psutil.pid_exists, pids)))


def wait_for(true: Callable[[], bool], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_how_a_process_ended_in_words() -> None:
    assert (describe_exit(-9), describe_exit(3)) == ("signal 9", "exit code 3")
