"""`captionseg convert groupvit nvidia-groupvit ours`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `convert`."""
    one = commands.add_parser(
        "convert", help="GroupViT of transformers, ours, and back", description=run.__doc__
    )
    one.add_argument("kind", choices=["groupvit"], help="of model")
    one.add_argument(
        "source", type=Path, help="folder with config.json and weights, of either layout"
    )
    one.add_argument("target", type=Path, help="folder to write; it must be empty")
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Convert a folder with a GroupViT of transformers (config.json, model.safetensors) into one of
    ours, or back.
    """
    from captionseg.modeling.weights.groupvit_checkpoint import convert

    print(convert(arguments.source, arguments.target))
