"""DVC alone is killed, at several moments of every stage; `dvc repro` at once after it ends with
the same bytes.

    python -m tests.soak.kills [--stages download pretrain ..] [--moments 5] \
        [--signal KILL] [--keep FOLDER]

Not a part of the tests: each kill is two runs of a stage. Exit code 1 if one of them ends with
other bytes, fails, or leaves a process.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.soak import checkout

ENDS = 15.0  # seconds in which a stage has to be gone


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
    """All kills; how many went wrong."""
    whole, number = checkout.digests(root), getattr(signal, f"SIG{arguments.signal}")
    stages = arguments.stages or list(yaml.safe_load((root / "dvc.lock").read_text())["stages"])
    bad = total = hits = 0
    begin = time.monotonic()
    for stage in stages:
        checkout.forget(root, stage)
        seconds = checkout.reproduce(root, stage)
        for moment in range(arguments.moments):
            share = (moment + 0.5) / arguments.moments
            hit, wrong = one(root, stage, share * seconds, number, whole)
            total, hits, bad = total + 1, hits + hit, bad + bool(wrong)
            say(
                f"{stage} at {share:.0%} of {seconds:.1f} s: "
                f"{'in the stage' if hit else 'beside the stage'}, {wrong or 'same bytes'}"
            )
    say(
        f"{total - bad} of {total} ended with the same bytes ({hits} were killed while the stage "
        f"ran); {(time.monotonic() - begin) / max(1, total):.0f} s each"
    )
    return int(bad > 0)


def one(
    root: Path, stage: str, after: float, number: int, whole: dict[str, str]
) -> tuple[bool, str]:
    """Kill DVC alone `after` seconds; was the stage running, and what is wrong in the end, if
    anything.
    """
    checkout.forget(root, stage)
    dvc = checkout.start(root, "repro", stage)
    time.sleep(after)
    orphans = [p for p in checkout.tree(dvc) if p.pid != dvc.pid]
    hit = any(checkout.kind(p) == "stage" for p in orphans)
    dvc.send_signal(number)
    dvc.wait()
    try:
        checkout.reproduce(root)
    except RuntimeError as error:
        return hit, f"FAILED: {error}"
    if not checkout.wait_for(lambda: not any(map(checkout.alive, orphans)), seconds=ENDS):
        return hit, f"LEFT: {[checkout.kind(p) for p in orphans if checkout.alive(p)]}"
    if other := checkout.differences(whole, checkout.digests(root)):
        return hit, f"OTHER BYTES: {', '.join(other[:5])}"
    return hit, ""


def say(line: str) -> None:
    """A line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
