"""Whole reproductions with random kills of random processes; all of them end with the same bytes.

    python -m tests.soak.reproductions --runs 30 --seed 0 [--kills 5] [--targets regions] \
        [--keep FOLDER]

Not a part of the tests. A reproduction starts from nothing; a process of its tree, DVC's own or one
below it, gets SIGKILL (or, one time in four, SIGTERM) after a random while. When DVC has failed or
is gone it is started again at once, whatever it left running; after `--kills` it is left alone.
Prints counts; exit code 1 if a run ends with other bytes, does not end, or leaves a process.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.soak import checkout

ENDS = 15.0  # seconds in which all processes of a run that is over have to be gone
ATTEMPTS = 5  # of dvc repro, when nobody kills any more


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0 if all ended as the undisturbed one."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.reproductions", description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=5, help="of each run, at most")
    parser.add_argument(
        "--targets", nargs="+", default=[], help="stages, for a short try; by default all"
    )
    parser.add_argument(
        "--keep", type=Path, help="the checkout; made if it is not there, not deleted"
    )
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        root = (arguments.keep or Path(folder) / "checkout").resolve()
        if not root.exists():
            checkout.make(root)
        clean(root)
        seconds = checkout.reproduce(root, *arguments.targets)
        say(f"undisturbed: {seconds:.0f} s")
        return soak(root, checkout.digests(root), seconds, arguments)


def soak(root: Path, whole: dict[str, str], seconds: float, arguments: argparse.Namespace) -> int:
    """All runs; is any of them wrong?"""
    rng, killed, bad, begin = random.Random(arguments.seed), Counter(), 0, time.monotonic()
    for number in range(arguments.runs):
        clean(root)
        try:
            mine = disturbed(root, rng, seconds, arguments)
            killed.update(mine)
            wrong = ""
            if left := left_behind(root):
                wrong = f"LEFT: {left}"
            elif other := checkout.differences(whole, checkout.digests(root)):
                wrong = f"OTHER BYTES: {', '.join(other[:5])}"
        except RuntimeError as error:
            mine, wrong = Counter(), f"FAILED: {error}"
        bad += bool(wrong)
        say(f"run {number + 1}: killed {dict(mine)}; {wrong or 'same bytes'}")
    say(
        f"{arguments.runs - bad} of {arguments.runs} reproductions ended with the same bytes; "
        f"killed: {dict(killed)}, {sum(killed.values())} in all; seed {arguments.seed}, "
        f"{(time.monotonic() - begin) / max(1, arguments.runs):.0f} s each"
    )
    return int(bad > 0)


def disturbed(
    root: Path, rng: random.Random, seconds: float, arguments: argparse.Namespace
) -> Counter[str]:
    """One reproduction to its end; what was killed.

    Raises:
        RuntimeError: if it fails though nobody kills any more.
    """
    killed: Counter[str] = Counter()
    kills = arguments.kills
    while sum(killed.values()) < kills:
        dvc = checkout.start(root, "repro", *arguments.targets)
        while dvc.poll() is None and sum(killed.values()) < kills:
            try:
                dvc.wait(rng.uniform(0.0, 2.0 * seconds / (kills + 1)))
            except subprocess.TimeoutExpired:
                victims = checkout.tree(dvc)
                if victims:
                    victim = rng.choice(victims)
                    killed[checkout.kind(victim)] += 1
                    checkout.kill(victim, signal.SIGTERM if rng.random() < 0.25 else signal.SIGKILL)
        if dvc.poll() == 0:
            return killed
        if sum(killed.values()) >= kills and dvc.wait() == 0:
            return killed
    for attempt in range(ATTEMPTS):
        try:
            checkout.reproduce(root, *arguments.targets)
            return killed
        except RuntimeError as error:  # such as a lock of DVC's that the last of its processes had
            if attempt == ATTEMPTS - 1 or "Unable to acquire lock" not in str(error):
                raise
    return killed


def left_behind(root: Path) -> list[str]:
    """Processes that are still there a while after the run was over."""
    checkout.wait_for(lambda: not any(checkout.inside(root)), seconds=ENDS)
    return [checkout.kind(process) for process in checkout.inside(root)]


def clean(root: Path) -> None:
    """As a fresh clone: nothing made, nothing cached."""
    for name in (".work", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / ".work.log").unlink(missing_ok=True)
    subprocess.run(["git", "clean", "-fdxq"], cwd=root, check=True)
    subprocess.run(["git", "checkout", "-q", "."], cwd=root, check=True)


def say(line: str) -> None:
    """A line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
