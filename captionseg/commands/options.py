"""Options that several commands have."""

from __future__ import annotations

import argparse


def add_device(one: argparse.ArgumentParser) -> None:
    """Add --device."""
    one.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )


def add_labelling(one: argparse.ArgumentParser) -> None:
    """Add --refine and --masks, which say how pixels get their labels."""
    one.add_argument(
        "--refine",
        choices=["none", "pamr", "segments"],
        help="refine masks along the picture's edges (PAMR) or by its class-agnostic segments "
        "(default: as saved with the model)",
    )
    one.add_argument(
        "--masks",
        choices=["regions", "hierarchy"],
        help="what models that read segments label: regions, or masks that overlap "
        "(default: as saved with the model)",
    )
