"""The process that says to MLflow what a stage hands it, line by line, on standard input.

    python -m captionseg.tracking.writer    # started by tracker.py, never by hand

It outlives the stage by a moment: when its input ends without a farewell the stage was killed, and
so is its run. The first thing that goes wrong is one line on standard error; the rest of the run is
then not recorded.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from captionseg import records
from captionseg.tracking.machine import Machine
from captionseg.tracking.stage_run import TAG_LENGTH, StageRun, open_stage_run
from captionseg.tracking.store import Store

POLL = 1.0  # seconds between looks at whether the stage still lives
CALLS = ("params", "metrics", "tags", "inputs", "artifact", "model", "summary", "recipes", "flush")


def read_calls(poll: float = POLL) -> Iterator[dict[str, Any]]:
    """What the stage says, call by call, and `flush` while it is silent. Ends with its input or its
    death.

    A thread reads, so that the stage is never held up by a store that is slow.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    stage = os.getppid()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=poll)
        except queue.Empty:
            if os.getppid() != stage:  # a forked child of the stage may keep our input open
                return
            yield {"call": "flush"}
            continue
        # the end, or half a line of a stage that was killed while it wrote
        if not line.endswith("\n"):
            return
        yield json.loads(line)


def serve(calls: Iterator[dict[str, Any]]) -> bool:
    """Open the run that the first call asks for, do the others, end it; returns whether all was
    recorded.
    """
    first = next((call for call in calls if call["call"] == "start"), None)
    if first is None:
        return True
    machine = Machine(Path(first["root"]))
    store = Store(Path(first["root"]), first["patience"])
    run = open_stage_run(store, first["stage"], first["recipe"], first["params"])
    status, error, problem = "KILLED", "", ""
    for call in calls:
        name = call.pop("call")
        if name == "end":
            status, error = call["status"], call["error"]
            break
        problem = problem or attempt(name, functools.partial(obey, run, name, call))
        if machine.due():
            problem = problem or attempt("machine", functools.partial(sample_machine, machine, run))
    problem = problem or attempt("machine", functools.partial(sample_machine, machine, run))
    problem = problem or attempt("end", run.finish if status == "FINISHED" else run.flush)
    return close(run, status, error=error, problem=problem)


def obey(run: StageRun, name: str, values: dict[str, Any]) -> None:
    """Do what a stage may ask for."""
    if name not in CALLS:
        raise KeyError(name)
    getattr(run, name)(**values)


def sample_machine(machine: Machine, run: StageRun) -> None:
    """A sample of what the machine does, among the metrics of the stage."""
    run.metrics(machine.sample(), machine.step, time.time_ns() // 1_000_000)


def attempt(name: str, action: Callable[[], None]) -> str:
    """Do it; what went wrong, after it was said, or nothing."""
    try:
        action()
    except Exception as error:
        return warn(f"{name}: {one_line(error)}")
    return ""


def close(run: StageRun, status: str, *, error: str, problem: str) -> bool:
    """End the run, with a tag if it is not complete; returns whether it is."""
    try:
        if problem:
            run.store.client.set_tag(run.run, "tracking.incomplete", problem[:TAG_LENGTH])
        run.close(status, error)
    except Exception as failure:
        problem = problem or warn(one_line(failure))
    return not problem


def one_line(error: BaseException) -> str:
    """An exception in one line."""
    return records.one_line(f"{type(error).__name__}: {error}", 300)


def warn(problem: str) -> str:
    """The one line that a stage's log gets; returns `problem`."""
    with contextlib.suppress(OSError):  # the stage, which repeats it, is gone
        sys.stderr.write(f"warning: tracking: {problem}; the rest of this run is not recorded\n")
        sys.stderr.flush()  # main leaves without
    return problem


def main() -> int:
    """0 if all was recorded, 1 after one line if not."""
    # meant for the stage: see how it ends, and say so
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        return 0 if serve(read_calls()) else 1
    except Exception as error:
        warn(one_line(error))
        return 1


if __name__ == "__main__":
    code = main()
    # everything is written; tearing MLflow down takes half a second that a stage would wait
    os._exit(code)
