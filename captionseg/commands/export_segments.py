"""`captionseg export-segments sa1b`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """Add `export-segments` and its arguments."""
    one = commands.add_parser(
        "export-segments",
        help="export segments and their texts in SA-1B's JSON format",
        description=run.__doc__,
    )
    one.add_argument("out", type=Path, help="folder to write; it must be empty")
    one.add_argument(
        "--segments",
        type=Path,
        default=Path("data/segments"),
        help="folder written by stage segment_text (default: %(default)s)",
    )
    one.add_argument(
        "--pairs",
        type=Path,
        default=Path("data/pairs"),
        help="folder of the pairs that they belong to (default: %(default)s)",
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the segments of stage segment_text in SA-1B's format, one file OUT/KEY.json per
    picture, with an additional key `texts`.
    """
    from captionseg.segment_text.export import export_sa1b

    print(
        f"{export_sa1b(arguments.segments, arguments.pairs, arguments.out)} files in "
        f"{arguments.out}"
    )
