"""`captionseg segment picture.jpg --labels zebra,grass`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionseg.commands.options import PATH, add_device, add_labelling, make_command
from captionseg.terminal import is_quiet, mistake, number, shown

if TYPE_CHECKING:
    from captionseg.api.model import Model, Words
    from captionseg.api.pictures import Pixels
    from captionseg.api.result_files import Files, Wanted
    from captionseg.api.segmentation import Segmentation
    from captionseg.api.sources import Source

log = logging.getLogger(__name__)
CONTRAST = "0.25, and 0 for models with a background"
SHOWN = 3  # labels in the line of a picture, if there are several


def require_labels(
    context: click.Context, option: click.Parameter, value: str | None
) -> str | None:
    """Check that --labels or --labels-file is given, and not both; a callback of --labels."""
    file = context.params.get("labels_file")
    if value is None and file is None:
        raise click.UsageError('--labels: give at least one, for example --labels "zebra, grass"')
    if value is not None and file is not None:
        raise click.UsageError("--labels-file: not allowed with --labels")
    return value


@make_command("segment", "segment pictures by text labels")
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...")
@click.option(
    "--labels",
    callback=require_labels,
    help='labels, separated by commas: "zebra, grass"; several names of one have semicolons '
    'between: "person; people, grass"; @words.txt reads them from a file',
)
@click.option(
    "--labels-file",
    type=PATH,
    is_eager=True,  # before --labels, which looks at it
    metavar="FILE",
    help="file of the labels, one or more in a line",
)
@click.option(
    "--model",
    metavar="FOLDER",
    help="folder of a trained recipe, or an address of MLflow (default: the best of models/, else "
    "the model that came with captionseg)",
)
@click.option(
    "-o",
    "--out",
    type=PATH,
    metavar="FOLDER|FILE",
    help="folder for overlays, index PNGs and masks in COCO's JSON; or, of a single picture, file "
    "of the overlay. Existing files are overwritten, pictures never (default: only overlays, "
    "PICTURE_segments.png in the current folder)",
)
@click.option(
    "--mask", type=PATH, metavar="PNG", help="also write the label of each pixel, counted from 0"
)
@click.option(
    "--json", "coco", type=PATH, metavar="JSON", help="also write all masks, in COCO's JSON"
)
@click.option("--heat", is_flag=True, help="also draw where each label fits, PICTURE_heat.png")
@click.option(
    "--background",
    type=number("--background", low=-1, high=1),
    metavar="SCORE",
    help="pixels where no label reaches this score stay unlabelled, 255 in the mask (models with "
    "groups; default: as saved with the model)",
)
@click.option(
    "--other/--no-other",
    default=None,
    help="leave pixels unlabelled, 255 in the mask, that another word of the model's training fits "
    "better than every label (default: only with a single label and no background)",
)
@add_labelling(contrast=CONTRAST)
@add_device
def command(pictures: tuple[str, ...], **options: Any) -> None:
    """Label each pixel of pictures, write overlays in the labels' colours and print the share of
    the picture that each label covers.

    A PICTURE is a file, a folder of pictures, a pattern such as '*.png', or - for stdin.
    """
    run(pictures, Options(**options))


@dataclass(frozen=True)
class Options:
    """Options of the command, see its help."""

    labels: str | None
    labels_file: Path | None
    model: str | None
    out: Path | None
    mask: Path | None
    coco: Path | None
    heat: bool
    background: float | None
    other: bool | None
    refine: str | None
    masks: str | None
    contrast: float | None
    device: str


def run(pictures: tuple[str, ...], options: Options) -> None:
    """Segment pictures, one after the other; the model is loaded once.

    Raises:
        UserError: if nothing can be done, or at the end if a picture could not be segmented.
    """
    from tqdm import tqdm

    from captionseg import shipped
    from captionseg.api.result_files import choose_files, plan
    from captionseg.api.sources import list_sources

    labels = read_labels(options)
    sources = list_sources(pictures)
    wanted = choose_files(options.out, options.mask, heat=options.heat, coco=options.coco)
    planned = plan(sources, wanted)
    # what is wrong with a single picture is said before the model is loaded
    ready = {source: source.read() for source in planned if len(planned) == 1}
    start = time.perf_counter()
    model = load(options)
    log.info("%s: loaded in %.2f s", model.folder, time.perf_counter() - start)
    words = model.choose_words(labels, other=options.other)
    if options.model is None and not is_quiet():
        ours = model.folder == shipped.path()
        name = f"{model.name}, which comes with the package" if ours else str(model.folder)
        print(f"model: {name}", file=sys.stderr)
    with collect_masks(wanted) as add:
        for source, result in segment_all(model, words, planned, ready):
            add(result)
            if len(planned) > 1:
                lines = [format_line(result, planned[source])]
            else:
                lines = format_shares(result, words, background=options.background is not None)
                lines.append(str(planned[source].overlay))
            tqdm.write("\n".join(map(shown, lines)), file=sys.stdout)


def read_labels(options: Options) -> list[str]:
    """Read the labels that were given as words or as a file.

    Raises:
        UserError: if there are none, or for a file that cannot be read.
    """
    from captionseg.text import typed_labels

    if options.labels_file is not None:
        return typed_labels.read_file(options.labels_file)
    text = options.labels or ""
    if text.startswith("@"):
        return typed_labels.read_file(Path(text[1:]))
    return typed_labels.read_labels(text)


def load(options: Options) -> Model:
    """Load the model that was asked for, or the best there is."""
    from captionseg.api.model import load_model

    return load_model(
        options.model,
        device=options.device,
        background=options.background,
        contrast=options.contrast,
        refine=options.refine,
        masks=options.masks,
        spelling=("--other", "--no-other"),
    )


@contextmanager
def collect_masks(wanted: Wanted) -> Iterator[Any]:
    """Yield a function that takes a result; in the end, also after Ctrl-C, what it took is written
    in COCO's JSON, if that is wanted.
    """
    if wanted.coco is None:
        yield lambda result: None
        return
    from captionseg.api.coco import CocoWriter
    from captionseg.storage.writing import write_json

    writer = CocoWriter()
    try:
        yield writer.add
    finally:
        if writer.images:
            write_json(writer.write(), wanted.coco)


def segment_all(
    model: Model, words: Words, planned: Mapping[Source, Files], ready: Mapping[Source, Pixels]
) -> Iterator[tuple[Source, Segmentation]]:
    """Segment pictures and write their files; say what is wrong with one and go on.

    Args:
        model: the model.
        words: what pixels are compared with.
        planned: pictures and their files.
        ready: pictures that were read before.

    Raises:
        UserError: in the end, if there was one; at once, if there is only one.
    """
    from tqdm import tqdm

    from captionseg.records import UserError

    failed, several = 0, len(planned) > 1
    hidden = True if is_quiet() or not several else None  # None: shown on a terminal
    for source, files in tqdm(planned.items(), desc="pictures", disable=hidden, leave=False):
        try:
            pixels = ready[source] if source in ready else source.read()
            result = segment(model, words, pixels, files)
        except (UserError, MemoryError, RuntimeError) as error:
            if not several or not (line := mistake(error)):
                raise
            failed += 1
            tqdm.write(f"error: {line}", file=sys.stderr)
        else:
            yield source, result
    if failed:
        raise UserError(f"{failed} of {len(planned)} pictures could not be segmented")


def segment(model: Model, words: Words, pixels: Pixels, files: Files) -> Segmentation:
    """Segment a picture and write its files."""
    import numpy as np

    from captionseg.api.drawing import draw_heat
    from captionseg.api.result_files import write_files
    from captionseg.reporting.overlay import write_picture

    start = time.perf_counter()
    result = model.segment_pixels(pixels.image, words, name=pixels.name)
    labelled = time.perf_counter()
    write_files(result, files)
    if files.heat:
        maps = model.score_pixels(pixels.image, words)
        write_picture(np.asarray(draw_heat(pixels.image, result.labels, maps)), files.heat)
    height, width = result.mask.shape
    log.info(
        "%s: %d x %d pixels, labelled in %.2f s, written in %.2f s",
        pixels.name,
        width,
        height,
        labelled - start,
        time.perf_counter() - labelled,
    )
    return result


def format_line(result: Segmentation, files: Files) -> str:
    """Format one picture of several."""
    from captionseg.api.segmentation import cut_label

    rows = [row for row in result.list_shares() if row[1] > 0]
    parts = [f"{cut_label(label)} {100 * share:.0f} %" for label, share in rows[:SHOWN]]
    if len(rows) > SHOWN:
        parts.append(f"{len(rows) - SHOWN} more")
    return f"{result.name}: {', '.join(parts) or 'no label'} -> {files.overlay}"


def format_shares(result: Segmentation, words: Words, *, background: bool) -> list[str]:
    """Format the share of the picture that each label covers, the largest first, and last that of
    pixels without one, if there are any or a `background` was asked for.
    """
    from captionseg.api.segmentation import cut_label

    rows = [(cut_label(label), part) for label, part in result.list_shares()]
    left = float((result.mask < 0).mean())
    if words.rivals:
        rows.append(("(other)", left))
    elif left or background:
        rows.append(("(background)", left))
    width = max(len(label) for label, _ in rows)
    return [f"{label:{width}}  {100 * part:5.1f} %" for label, part in rows]
