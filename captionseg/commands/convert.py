"""`captionseg convert groupvit nvidia-groupvit ours`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """Add `convert` and its arguments."""
    one = commands.add_parser(
        "convert",
        help="convert a GroupViT between transformers' layout and ours",
        description=run.__doc__,
    )
    one.add_argument("kind", choices=["groupvit"], help="kind of model")
    one.add_argument(
        "source", type=Path, help="folder with config.json and weights, in either layout"
    )
    one.add_argument("target", type=Path, help="folder to write; it must be empty")
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Convert a GroupViT saved by transformers (a folder with config.json and model.safetensors)
    into our layout, or ours into theirs.
    """
    from captionseg.modeling.weights.groupvit_checkpoint import convert

    print(convert(arguments.source, arguments.target))
