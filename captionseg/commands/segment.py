"""`captionseg segment picture.jpg --labels zebra,grass`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captionseg.commands.options import add_device, add_labelling
from captionseg.terminal import number

if TYPE_CHECKING:
    import numpy as np

    from captionseg.inference.predictor import Predictor

MODEL = Path("models/cocu_calibrated-mil")
CONTRAST = 0.25
"""Better than none on the tune split of the default data where all labels are in the picture or all
but one, and no worse with three that are not (docs/log.md, 2026-11-30).
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Add `segment` and its arguments."""
    one = commands.add_parser(
        "segment", help="segment a picture by text labels", description=run.__doc__
    )
    one.add_argument("picture", type=Path, help="an image file")
    one.add_argument("--labels", required=True, help='labels, separated by commas: "zebra, grass"')
    one.add_argument(
        "--model",
        type=Path,
        help=f"folder of a trained recipe (default: {MODEL}, or without it the model that comes "
        "with the package)",
    )
    one.add_argument(
        "--out",
        type=Path,
        help="overlay to write; an existing file is overwritten (default: PICTURE_segments.png "
        "next to the picture)",
    )
    one.add_argument(
        "--mask",
        type=Path,
        metavar="PNG",
        help="also write a mask with the label of each pixel, counted from 0",
    )
    one.add_argument(
        "--background",
        type=number("--background", low=-1, high=1),
        metavar="SCORE",
        help="pixels where no label reaches this score stay unlabelled, 255 in the mask (models "
        "with groups; default: as saved with the model)",
    )
    one.add_argument(
        "--other",
        action=argparse.BooleanOptionalAction,
        help="leave pixels unlabelled, 255 in the mask, that another word of the model's training "
        "fits better than every label (default: only with a single label and no background)",
    )
    add_labelling(one, contrast=f"{CONTRAST:g}, and 0 for models with a background")
    add_device(one)
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Label each pixel of a picture, write an overlay in the labels' colours and print the share of
    the picture that each label covers.
    """
    from captionseg.runtime.start_up import collect_nothing

    with collect_nothing():
        import numpy as np

        from captionseg.inference.predictor import read_image
        from captionseg.inference.unknown_words import describe_unknown
        from captionseg.records import UserError
        from captionseg.remarks import warn_once
        from captionseg.text.typed_labels import read_labels

    labels = read_labels(arguments.labels)
    if arguments.picture.is_dir():
        raise UserError(f"{arguments.picture}: is a folder; give an image file")
    out = arguments.out or arguments.picture.with_name(f"{arguments.picture.stem}_segments.png")
    check_outputs(arguments.picture, out, arguments.mask)
    picture = read_image(arguments.picture)
    arguments.model = arguments.model or find_default()
    predictor = load_predictor(arguments)
    rivals = choose_rivals(predictor, labels, arguments.other)
    if arguments.contrast is None and predictor.protocol.background.score is None and not rivals:
        predictor = predictor.with_contrast(CONTRAST)
    for line in describe_unknown(labels, arguments.model, predictor.embed_labels):
        warn_once(line)
    # none of the labels is -1, which becomes 255: these pixels are not tinted
    mask = predictor.segment(picture, labels, rivals).astype(np.uint8)
    rows = write_pictures(picture, mask, labels, out=out, mask_file=arguments.mask)
    if rows[-1][1] == 0 and arguments.background is None and not rivals:
        rows.pop()
    elif rivals:
        rows[-1] = ("(other)", rows[-1][1])
    print_shares(rows)
    print(out)


def find_default() -> Path:
    """Return the model of one's own run, or else the one of the package, which is said."""
    from captionseg import shipped

    if MODEL.exists() or not (found := shipped.path()):
        return MODEL
    print(f"model: {found.name}, which comes with the package", file=sys.stderr)
    return found


def load_predictor(arguments: argparse.Namespace) -> Predictor:
    """Load the model that was asked for, labelling as was asked for."""
    from captionseg.runtime.start_up import collect_nothing

    with collect_nothing():
        from captionseg.inference.predictor import Predictor
        from captionseg.inference.refine import RefineParams
        from captionseg.inference.windows import Protocol
        from captionseg.segmenters.mask_makers import MasksParams

    protocol = Protocol(
        refine=RefineParams(arguments.refine) if arguments.refine else None,
        masks=MasksParams(arguments.masks) if arguments.masks else None,
        contrast=arguments.contrast or 0.0,
    )
    return Predictor.load(
        arguments.model, device=arguments.device, background=arguments.background, protocol=protocol
    )


def print_shares(rows: Sequence[tuple[str, float]]) -> None:
    """Print each label with its share of the picture."""
    width = max(len(label) for label, _ in rows)
    for label, part in rows:
        print(f"{label:{width}}  {100 * part:5.1f} %")


def choose_rivals(predictor: Predictor, labels: Sequence[str], other: bool | None) -> list[str]:
    """Choose the words that leave pixels unlabelled.

    Args:
        predictor: the model.
        labels: that are asked for.
        other: whether there are any; None has some if there is one label and no background.

    Raises:
        UserError: if the model's training knows no such word, and they are asked for.
    """
    from captionseg.records import UserError
    from captionseg.remarks import quote, warn_once

    alone = len(labels) == 1 and predictor.protocol.background.score is None
    if other is False or (other is None and not alone):
        return []
    rivals = predictor.find_rivals(labels)
    if other and not rivals:
        raise UserError(
            f"--other: {predictor.labeller.loaded.folder} names no concept of its training that "
            "is unlike all labels; omit --other and add labels for the rest of the picture"
        )
    if alone and rivals and other is None:
        warn_once(
            f"labels: {quote(labels[0])} is the only one, so pixels that another word of the "
            "model's training fits better stay unlabelled; --no-other labels every pixel"
        )
    return rivals


def write_pictures(
    picture: np.ndarray,
    mask: np.ndarray,
    labels: Sequence[str],
    *,
    out: Path,
    mask_file: Path | None,
) -> list[tuple[str, float]]:
    """Write the overlay and, if asked for, the mask.

    Args:
        picture: [H, W, 3] uint8.
        mask: [H, W] uint8, the number of each pixel's label, 255 without one.
        labels: names of the labels.
        out: file of the overlay.
        mask_file: file of the mask; None writes none.

    Returns:
        each label with its share of the picture, largest first; last, pixels without a label.
    """
    import numpy as np

    from captionseg.reporting.overlay import (
        IGNORED,
        add_legend,
        draw_overlay,
        make_palette,
        write_picture,
    )

    if mask_file:
        write_picture(mask, mask_file)
    shares = np.bincount(mask.ravel(), minlength=IGNORED + 1) / mask.size
    colours, share = make_palette(len(labels)), shares[: len(labels)]
    texts = [f"{label}  {100 * part:.0f} %" for label, part in zip(labels, share, strict=True)]
    write_picture(add_legend(draw_overlay(picture, mask, colours), texts, colours), out)
    rows = sorted(zip(labels, share, strict=True), key=lambda pair: -pair[1])
    return [*rows, ("(background)", shares[IGNORED])]


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
        raise UserError(f"{out}: --mask and --out name the same file; choose different names")
    if is_same_file(out, picture) or (mask and is_same_file(mask, picture)):
        raise UserError(
            f"{picture}: is the input picture, which is never overwritten; choose another file"
        )
    if mask and check_writable(mask) != "PNG":
        raise UserError(f"{mask}: masks are written as PNG; use a name ending in .png")


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether two paths are the same file, links resolved."""
    return one.resolve() == other.resolve() or (
        one.exists() and other.exists() and one.samefile(other)
    )
