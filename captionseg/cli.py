"""The command line.

    captionseg segment zebra.jpg --labels "zebra, grass"
    captionseg check-params
    captionseg convert groupvit nvidia-groupvit ours
    captionseg export models/cocu-mil --to onnx
    captionseg query-segments "a red apple" -k 20
    captionseg export-segments sa1b
    captionseg evaluate --benchmark voc --root /data --recipe cocu-mil
    captionseg trace photo.jpg
    captionseg held-out --rows 2000:
    captionseg compare latest~1 latest
    captionseg sync

A command imports what it needs when it runs, so that --help is fast.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from captionseg.commands import (
    check_params,
    compare,
    convert,
    difference,
    evaluate,
    export,
    export_segments,
    held_out,
    query_segments,
    segment,
    sync,
    trace,
)
from captionseg.terminal import guarded

# Before torch starts threads: waiting ones give up their core. On a busy machine a picture takes a
# tenth of the time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or another exit code after one line on stderr, see `guarded`."""

    def run() -> None:
        arguments = parser().parse_args(argv)
        arguments.run(arguments)

    return guarded(run)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and their arguments."""
    top = argparse.ArgumentParser(
        prog="captionseg",
        description="Train and use open-vocabulary segmentation models from captioned images.",
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    segment.add(commands)
    check_params.add(commands)
    export.add(commands)
    export_segments.add(commands)
    convert.add(commands)
    query_segments.add(commands)
    evaluate.add(commands)
    difference.add(commands)
    compare.add(commands)
    sync.add(commands)
    trace.add(commands)
    held_out.add(commands)
    return top
