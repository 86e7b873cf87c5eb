"""`captionseg segment picture.jpg --labels zebra,grass`."""

from __future__ import annotations

import argparse
from pathlib import Path

from captionseg.terminal import number

MODEL = Path("models/cocu_calibrated-mil")


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `segment`."""
    one = commands.add_parser(
        "segment", help="segment a picture with words", description=run.__doc__
    )
    one.add_argument("picture", type=Path, help="an image file")
    one.add_argument(
        "--labels", required=True, help='what to look for, between commas: "zebra, grass"'
    )
    one.add_argument(
        "--model",
        type=Path,
        default=MODEL,
        help="folder of a trained recipe (default: %(default)s)",
    )
    one.add_argument(
        "--out",
        type=Path,
        help="overlay to write, in place of one that is there (default: "
        "PICTURE_segments.png beside the picture)",
    )
    one.add_argument(
        "--mask",
        type=Path,
        metavar="PNG",
        help="also write the label of each pixel, counted from 0",
    )
    one.add_argument(
        "--background",
        type=number("--background", low=-1, high=1),
        metavar="SCORE",
        help="pixels where no label has this score are left "
        "untouched, 255 in the mask (models with groups; default: as the model was saved)",
    )
    one.add_argument(
        "--refine",
        choices=["none", "pamr", "segments"],
        help="masks along edges of the "
        "picture (PAMR), or by its class-agnostic segments (default: as the model was saved)",
    )
    one.add_argument(
        "--masks",
        choices=["regions", "hierarchy"],
        help="what is given labels, where the model reads "
        "segments: regions, or masks that overlap (default: as the model was saved)",
    )
    one.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Find the label that fits best for each pixel of a picture; write it tinted by them, print
    their shares of it.
    """
    import numpy as np

    from captionseg.inference.predictor import Predictor, read_image
    from captionseg.inference.refine import RefineParams
    from captionseg.inference.windows import Protocol
    from captionseg.records import UserError
    from captionseg.reporting.overlay import (
        IGNORED,
        add_legend,
        draw_overlay,
        make_palette,
        write_picture,
    )
    from captionseg.segmenters.mask_makers import MasksParams
    from captionseg.text.labels import read_labels

    labels = read_labels(arguments.labels)
    if arguments.picture.is_dir():
        raise UserError(f"{arguments.picture}: a folder; name an image file")
    out = arguments.out or arguments.picture.with_name(f"{arguments.picture.stem}_segments.png")
    check_outputs(arguments.picture, out, arguments.mask)
    picture = read_image(arguments.picture)
    protocol = Protocol(
        refine=RefineParams(arguments.refine) if arguments.refine else None,
        masks=MasksParams(arguments.masks) if arguments.masks else None,
    )
    predictor = Predictor.load(
        arguments.model, device=arguments.device, background=arguments.background, protocol=protocol
    )
    # background is -1, here 255: left as it is
    found = predictor.segment(picture, labels).astype(np.uint8)
    if arguments.mask:
        write_picture(found, arguments.mask)
    every = np.bincount(found.ravel(), minlength=IGNORED + 1) / found.size
    colours, share, left = make_palette(len(labels)), every[: len(labels)], every[IGNORED]
    texts = [f"{label}  {100 * part:.0f} %" for label, part in zip(labels, share, strict=True)]
    write_picture(add_legend(draw_overlay(picture, found, colours), texts, colours), out)
    rows = sorted(zip(labels, share, strict=True), key=lambda pair: -pair[1])
    if left or arguments.background is not None:
        rows.append(("(background)", left))
    width = max(len(label) for label, _ in rows)
    for label, part in rows:
        print(f"{label:{width}}  {100 * part:5.1f} %")
    print(out)


def check_outputs(picture: Path, out: Path, mask: Path | None) -> None:
    """Refuse files that cannot be written, or in whose place there is something.

    Args:
        picture: that is read.
        out: of the tinted picture.
        mask: of the labels; None writes none.

    Raises:
        UserError: naming the file.
    """
    from captionseg.records import UserError
    from captionseg.reporting.overlay import check_writable

    check_writable(out)
    if mask and is_same_file(mask, out):
        raise UserError(f"{out}: --mask and --out name one file; the mask needs its own")
    if is_same_file(out, picture) or (mask and is_same_file(mask, picture)):
        raise UserError(
            f"{picture}: is the picture itself, which is never written over; name another file"
        )
    if mask and check_writable(mask) != "PNG":
        raise UserError(f"{mask}: labels are written as PNG; end the name with .png")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two names are of one file, whatever links lead to it."""
    return one.resolve() == other.resolve() or (
        one.exists() and other.exists() and one.samefile(other)
    )
