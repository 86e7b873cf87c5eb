"""`captionseg export-segments sa1b`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, make_command


@make_command("export-segments", "export segments and their texts in SA-1B's JSON format")
@click.argument("out", type=PATH)
@click.option(
    "--segments",
    type=PATH,
    default=Path("data/segments"),
    show_default=True,
    help="folder written by stage segment_text",
)
@click.option(
    "--pairs",
    type=PATH,
    default=Path("data/pairs"),
    show_default=True,
    help="folder of the pairs that they belong to",
)
def command(out: Path, segments: Path, pairs: Path) -> None:
    """Write the segments of stage segment_text in SA-1B's format, one file OUT/KEY.json per
    picture, with an additional key `texts`. The folder OUT must be empty.
    """
    from captionseg.segment_text.export import export_sa1b

    print(f"{export_sa1b(segments, pairs, out)} files in {out}")
