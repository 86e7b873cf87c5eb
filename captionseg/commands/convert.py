"""`captionseg convert groupvit nvidia-groupvit ours`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, make_command


@make_command("convert", "convert a GroupViT between transformers' layout and ours")
@click.argument("kind", type=click.Choice(["groupvit"]))
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
def command(kind: str, source: Path, target: Path) -> None:
    """Convert a GroupViT saved by transformers (a folder with config.json and model.safetensors)
    into our layout, or ours into theirs.

    SOURCE is the folder of either; TARGET is the folder to write, which must be empty.
    """
    from captionseg.modeling.weights.groupvit_checkpoint import convert

    print(convert(source, target))
