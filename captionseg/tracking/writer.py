"""The process that writes a stage's calls, read line by line from standard input, to MLflow.

    python -m captionseg.tracking.writer    # started by tracker.py, never by hand

It outlives the stage for a moment: if its input ends without an `end` call, the stage was killed,
and its run gets this status. The first error is printed as one line on standard error; the rest of
the run is then not recorded.
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
from captionseg.tracking.store import Store, import_backend

POLL = 1.0  # seconds between checks that the stage is alive
CALLS = ("params", "metrics", "tags", "inputs", "artifact", "model", "summary", "recipes", "flush")


def read_calls(poll: float = POLL) -> Iterator[dict[str, Any]]:
    """Return an iterator over the stage's calls, with `flush` while it is silent, that ends with
    its input or its death. Both are watched from now on.

    A thread reads the input, so that a slow store never blocks the stage.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return take_calls(lines, os.getppid(), poll)


def take_calls(lines: queue.SimpleQueue[str], stage: int, poll: float) -> Iterator[dict[str, Any]]:
    """Yield the calls that lines hold; see `read_calls`.

    Args:
        lines: of the input; an empty one is its end.
        stage: number of the stage's process.
        poll: seconds of silence after which it is looked for.
    """
    while True:
        try:
            line = lines.get(timeout=poll)
        except queue.Empty:
            if os.getppid() != stage:  # a forked child of the stage may keep our input open
                return
            yield {"call": "flush"}
            continue
        # the end, or an incomplete line of a stage that was killed while writing
        if not line.endswith("\n"):
            return
        yield json.loads(line)


def serve(calls: Iterator[dict[str, Any]]) -> bool:
    """Open the run for the `start` call, execute the other calls and close the run; return whether
    everything was recorded.
    """
    first = next((call for call in calls if call["call"] == "start"), None)
    if first is None:
        return True
    machine = Machine(Path(first["root"]))
    store = Store(Path(first["root"]), first["patience"])
    run = open_stage_run(
        store, first["stage"], first["recipe"], first["params"], began=first["began"]
    )
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
    """Execute a call of the stage."""
    if name not in CALLS:
        raise KeyError(name)
    getattr(run, name)(**values)


def sample_machine(machine: Machine, run: StageRun) -> None:
    """Add a sample of the machine's load to the stage's metrics."""
    run.metrics(machine.sample(), machine.step, time.time_ns() // 1_000_000)


def attempt(name: str, action: Callable[[], None]) -> str:
    """Run an action; print and return its error, if any."""
    try:
        action()
    except Exception as error:
        return warn(f"{name}: {one_line(error)}")
    return ""


def close(run: StageRun, status: str, *, error: str, problem: str) -> bool:
    """Close the run, with a tag if it is incomplete; return whether it is complete."""
    try:
        if problem:
            run.store.client.set_tag(run.run, "tracking.incomplete", problem[:TAG_LENGTH])
        run.close(status, error)
    except Exception as failure:
        problem = problem or warn(one_line(failure))
    return not problem


def one_line(error: BaseException) -> str:
    """Format an exception as one line."""
    return records.one_line(f"{type(error).__name__}: {error}", 300)


def warn(problem: str) -> str:
    """Print a problem as one line for the stage's log and return it."""
    with contextlib.suppress(OSError):  # the stage, which would print it, is gone
        sys.stderr.write(f"warning: tracking: {problem}; the rest of this run is not recorded\n")
        sys.stderr.flush()  # os._exit does not flush
    return problem


def main() -> int:
    """Run the writer; 0 if everything was recorded, 1 after one line if not."""
    # signals are meant for the stage; wait to see how it ends
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    calls = read_calls()
    # now, while the stage imports its own libraries on one core, and not while it works on all
    with contextlib.suppress(Exception):  # what is wrong comes again in `serve`, which says it
        import_backend()
    try:
        return 0 if serve(calls) else 1
    except Exception as error:
        warn(one_line(error))
        return 1


if __name__ == "__main__":
    code = main()
    # everything is written; a clean exit of MLflow would make the stage wait half a second
    os._exit(code)
