"""DVC alone is killed, at several moments of the life of every stage; `dvc repro` at once after it
ends with the same bytes.

    python -m tests.soak.kills [--stages download pretrain ..] [--moments 5] \
        [--signal KILL] [--keep FOLDER]

Not a part of the tests: each kill is two runs of a stage. Exit code 1 if one of them ends with
other bytes, fails, or leaves a process.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from tests.soak import checkout

ENDS = 15.0  # seconds in which a stage has to be gone
LONGEST = 600.0  # seconds that a stage may take
TRIES = 4  # of a moment, where the stage had ended before it was killed


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0 if all runs ended as the undisturbed one."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.kills", description=__doc__)
    parser.add_argument("--stages", nargs="+", help="by default all of them, once each")
    parser.add_argument("--moments", type=int, default=5)
    parser.add_argument("--signal", default="KILL", choices=("KILL", "TERM"))
    parser.add_argument(
        "--keep", type=Path, help="the checkout; made if it is not there, not deleted"
    )
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="kills") as folder:
        root = arguments.keep or Path(folder) / "checkout"
        if not (root / "dvc.lock").exists():
            checkout.make(root)
            say(f"undisturbed reproduction: {checkout.reproduce(root.resolve()):.0f} s")
        return run(root.resolve(), arguments)


def run(root: Path, arguments: argparse.Namespace) -> int:
    """All kills; how many went wrong, or missed their stage."""
    whole, number = checkout.digests(root), getattr(signal, f"SIG{arguments.signal}")
    stages = arguments.stages or list(yaml.safe_load((root / "dvc.lock").read_text())["stages"])
    right = hits = total = 0
    begin = time.monotonic()
    for stage in stages:
        seconds = lifetime(root, stage)
        for moment in range(arguments.moments):
            share = (moment + 0.5) / arguments.moments
            hit, wrong = False, ""
            for _ in range(TRIES):
                hit, wrong, seconds = kill_once(root, stage, share, seconds, number, whole)
                if hit or wrong:
                    break
            total, hits, right = total + 1, hits + hit, right + (not wrong)
            say(
                f"{stage} at {share:.0%} of {seconds:.1f} s: "
                f"{'killed' if hit else 'MISSED'}, {wrong or 'same bytes'}"
            )
    say(
        f"{right} of {total} ended with the same bytes, {hits} were killed while the stage ran; "
        f"{(time.monotonic() - begin) / max(1, total):.0f} s each"
    )
    return int(right < total or hits < total)


def lifetime(root: Path, stage: str) -> float:
    """Seconds that the process of an undisturbed stage lives."""
    checkout.forget(root, stage)
    dvc = checkout.start(root, "repro", stage)
    process = started(dvc)
    begin = time.monotonic()
    checkout.wait_for(lambda: not checkout.alive(process), seconds=LONGEST)
    seconds = time.monotonic() - begin
    dvc.wait()
    return seconds


def started(dvc: subprocess.Popen[bytes]) -> psutil.Process:
    """The process of the stage that DVC runs, as soon as there is one."""

    def stages() -> list[psutil.Process]:
        return [p for p in checkout.tree(dvc) if checkout.kind(p) == "stage"]

    found = checkout.wait_for(stages, seconds=LONGEST)
    assert found, "DVC starts no stage"
    return found[0]


def kill_once(
    root: Path, stage: str, share: float, seconds: float, number: int, whole: dict[str, str]
) -> tuple[bool, str, float]:
    """Kill DVC alone when a stage has lived for a share of `seconds`.

    Returns:
        was the stage still running, what is wrong in the end, if anything, and how long the stage
        lives: less than `seconds` where it had ended before.
    """
    checkout.forget(root, stage)
    dvc = checkout.start(root, "repro", stage)
    process = started(dvc)
    begin = time.monotonic()
    checkout.wait_for(lambda: not checkout.alive(process), seconds=share * seconds)
    lived = time.monotonic() - begin
    hit = checkout.alive(process)
    orphans = [p for p in checkout.tree(dvc) if p.pid != dvc.pid]
    dvc.send_signal(number)
    dvc.wait()
    try:
        checkout.reproduce(root)
    except RuntimeError as error:
        return hit, f"FAILED: {error}", seconds
    if not checkout.wait_for(lambda: not any(map(checkout.alive, orphans)), seconds=ENDS):
        return hit, f"LEFT: {[checkout.kind(p) for p in orphans if checkout.alive(p)]}", seconds
    if other := checkout.differences(whole, checkout.digests(root)):
        return hit, f"OTHER BYTES: {', '.join(other[:5])}", seconds
    return hit, "", seconds if hit else lived


def say(line: str) -> None:
    """A line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
