"""`captionseg export-segments sa1b`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `export-segments`."""
    one = commands.add_parser(
        "export-segments",
        help="segments with their texts as SA-1B's JSON, a file an image",
        description=run.__doc__,
    )
    one.add_argument("out", type=Path, help="folder to write; it must be empty")
    one.add_argument(
        "--segments", type=Path, default=Path("data/segments"), help="default: %(default)s"
    )
    one.add_argument(
        "--pairs", type=Path, default=Path("data/pairs"), help="of them (default: %(default)s)"
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the segments of stage segment_text as SA-1B has them, OUT/KEY.json, with a key `texts`
    more.
    """
    from captionseg.segment_text.export import export_sa1b

    print(
        f"{export_sa1b(arguments.segments, arguments.pairs, arguments.out)} files in "
        f"{arguments.out}"
    )
