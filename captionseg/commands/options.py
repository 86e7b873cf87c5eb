"""Options that several commands have."""

from __future__ import annotations

import argparse

from captionseg.terminal import number


def add_device(one: argparse.ArgumentParser) -> None:
    """Add --device."""
    one.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )


def add_labelling(one: argparse.ArgumentParser, *, contrast: str = "0") -> None:
    """Add --refine, --masks and --contrast, which say how pixels get their labels."""
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
    one.add_argument(
        "--contrast",
        type=number("--contrast", low=0, high=1),
        metavar="SHARE",
        help="share of each label's mean over the picture that is taken from its scores, against "
        "labels that flood pictures unlike those of training; for labels that are in the picture "
        f"(default: {contrast})",
    )
