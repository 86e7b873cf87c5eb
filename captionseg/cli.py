"""The command line.

    captionseg segment zebra.jpg --labels "zebra, grass"
    captionseg check-params
    captionseg convert groupvit nvidia-groupvit ours
    captionseg query-segments "a red apple" -k 20
    captionseg export-segments sa1b
    captionseg evaluate --benchmark voc --root /data --recipe cocu-mil
    captionseg compare latest~1 latest
    captionseg sync

What a command needs is imported when it runs, so that --help comes at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from captionseg.terminal import guarded, number
from captionseg.tracking.command import add_compare, add_sync

MODELS, RESULTS = Path("models"), Path("reports/benchmarks")
MODEL, SEGMENT_MODEL = MODELS / "cocu_calibrated-mil", MODELS / "cocu-use"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: 0, or another exit code after one line on stderr, see `guarded`."""

    def run() -> None:
        arguments = parser().parse_args(argv)
        arguments.run(arguments)

    return guarded(run)


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    top = argparse.ArgumentParser(
        prog="captionseg", description="Captioned images into open-vocabulary segmentation."
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    one = commands.add_parser(
        "segment", help="segment a picture with words", description=segment.__doc__
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
    one.set_defaults(run=segment)
    two = commands.add_parser(
        "check-params", help="check params.yaml", description=check_params.__doc__
    )
    two.add_argument(
        "params", type=Path, nargs="?", default=Path("params.yaml"), help="default: %(default)s"
    )
    two.add_argument(
        "--no-files",
        action="store_true",
        help="do not look for the files and folders that it names",
    )
    two.set_defaults(run=check_params)
    export = commands.add_parser(
        "export-segments",
        help="segments with their texts as SA-1B's JSON, a file an image",
        description=export_segments.__doc__,
    )
    export.add_argument("out", type=Path, help="folder to write; it must be empty")
    export.add_argument(
        "--segments", type=Path, default=Path("data/segments"), help="default: %(default)s"
    )
    export.add_argument(
        "--pairs", type=Path, default=Path("data/pairs"), help="of them (default: %(default)s)"
    )
    export.set_defaults(run=export_segments)
    three = commands.add_parser(
        "convert", help="GroupViT of transformers, ours, and back", description=convert.__doc__
    )
    three.add_argument("kind", choices=["groupvit"], help="of model")
    three.add_argument(
        "source", type=Path, help="folder with config.json and weights, of either layout"
    )
    three.add_argument("target", type=Path, help="folder to write; it must be empty")
    three.set_defaults(run=convert)
    add_query(commands)
    add_evaluate(commands)
    add_difference(commands)
    add_compare(commands)
    add_sync(commands)
    return top


def add_query(commands: argparse._SubParsersAction) -> None:
    """The arguments of `query-segments`."""
    one = commands.add_parser(
        "query-segments", help="find segments with words", description=query_segments.__doc__
    )
    one.add_argument("text", help='what to look for: "a red apple"')
    one.add_argument("-k", type=int, default=20, help="how many (default: %(default)s)")
    one.add_argument(
        "--min-score",
        type=number("--min-score"),
        default=float("-inf"),
        metavar="COSINE",
        help="leave out segments below it (default: none)",
    )
    one.add_argument(
        "--model",
        type=Path,
        default=SEGMENT_MODEL,
        help="folder of a trained recipe with `model: use` (default: %(default)s)",
    )
    one.add_argument(
        "--segments",
        type=Path,
        default=Path("data/segments"),
        help="what the stage segment_text wrote; "
        "pairs, index and features lie beside it (default: %(default)s)",
    )
    one.add_argument(
        "--index",
        type=Path,
        help="folder of the index of embeddings, made when it is not there or stale "
        "(default: segment_index/MODEL beside the segments)",
    )
    one.add_argument(
        "--out",
        type=Path,
        default=Path("query.png"),
        help="sheet of what was found to write, in "
        "place of one that is there (default: %(default)s)",
    )
    one.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    one.set_defaults(run=query_segments)


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """The arguments of `evaluate`."""
    one = commands.add_parser(
        "evaluate",
        help="score models on a published benchmark, or a folder of your own",
        description=evaluate.__doc__,
    )
    one.add_argument(
        "--benchmark", required=True, metavar="NAME", help="which one; a wrong name lists them all"
    )
    one.add_argument(
        "--root",
        type=Path,
        default=Path(),
        help="folder that its archives were unpacked in; of one's "
        "own data, the checkout (default: here)",
    )
    what = one.add_mutually_exclusive_group()
    what.add_argument(
        "--recipe",
        metavar="NAME",
        help="all trained seeds of models/NAME; writes "
        "reports/benchmarks/NAME/BENCHMARK[@PROTOCOL].json, unless --limit leaves pictures out",
    )
    what.add_argument(
        "--model", type=Path, default=MODEL, help="folder of one model (default: %(default)s)"
    )
    one.add_argument(
        "--protocol",
        choices=["groupvit", "tcl", "use"],
        help="prompts, windows, refinement, scores and "
        "background as a paper has them (default: as the model was saved)",
    )
    one.add_argument(
        "--prompts",
        choices=["simple", "subset", "segment", "tcl", "imagenet"],
        help="templates of the "
        "classes' names (default: subset for ImageNet, else the protocol's, or as saved)",
    )
    one.add_argument(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="only N pictures, spread evenly (default: all)",
    )
    one.add_argument(
        "--background",
        metavar="SCORE",
        help="of the background, where it is a class: a number, or `published` for GroupViT's of "
        "this benchmark (default: the protocol's, as saved, else the word)",
    )
    one.add_argument(
        "--windows",
        metavar="SHORT,CROP,STRIDE",
        help="in pixels, for models that see pictures window by "
        "window (default: the protocol's, or as published for this benchmark)",
    )
    one.add_argument("--refine", choices=["none", "pamr", "segments"], help="as in `segment`")
    one.add_argument("--masks", choices=["regions", "hierarchy"], help="as in `segment`")
    one.add_argument(
        "--ignore",
        metavar="VALUES",
        help="of the masks of a folder of your own, values that count "
        "nowhere, such as 0,255 (default: a line `# ignore: ..` of classes.txt, else 255)",
    )
    one.add_argument(
        "--bootstrap",
        type=int,
        default=1000,
        metavar="N",
        help="data sets drawn for the interval (default: %(default)s)",
    )
    one.add_argument(
        "--out", type=Path, metavar="JSON", help="where to write all scores and the protocol"
    )
    one.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    one.set_defaults(run=evaluate)


def add_difference(commands: argparse._SubParsersAction) -> None:
    """The arguments of `difference`."""
    one = commands.add_parser(
        "difference", help="is one recipe better than another?", description=difference.__doc__
    )
    one.add_argument("recipe", help="of params.yaml")
    one.add_argument("other", help="that it is compared with")
    one.add_argument(
        "--areas", type=Path, default=Path("reports/areas"), help="default: %(default)s"
    )
    one.add_argument(
        "--bootstrap",
        type=int,
        default=10_000,
        metavar="N",
        help="data sets drawn (default: %(default)s)",
    )
    one.set_defaults(run=difference)


def evaluate(arguments: argparse.Namespace) -> None:
    """Score a model, or all seeds of a recipe, on a benchmark as unpacked from its archives: mIoU
    (accuracy, mask mAP) with a 95 % interval over pictures, worst and best classes, pictures a
    second, and the protocol."""
    from captionseg.benchmarks import outside
    from captionseg.benchmarks.command import asked_of, result_path
    from captionseg.benchmarks.held_out import HeldOut
    from captionseg.benchmarks.published import opened, published
    from captionseg.benchmarks.recipe import seeds_of
    from captionseg.inference.predictor import check_encoder, encoder_of
    from captionseg.storage import write_json

    out = result_path(arguments, RESULTS)
    spec = published(arguments.benchmark, own_name(arguments.root))
    asked = asked_of(arguments, spec)
    benchmark, total = opened(spec, arguments.root, limit=arguments.limit, ignore=arguments.ignore)
    remarks = getattr(benchmark, "remarks", ())
    for line in remarks:
        print(f"note: {line}", file=sys.stderr)
    if arguments.recipe:
        home, what = MODELS / arguments.recipe, {"recipe": arguments.recipe}
        folders = seeds_of(home)
    else:
        home, what = arguments.model, {"model": arguments.model.resolve().name}
        folders = {"": home}
    if isinstance(benchmark, HeldOut):
        check_encoder(home, benchmark.folders.prepared.encoder)
    found, speed = outside.evaluate(folders, encoder_of(home), benchmark, asked)
    seeds = found.pop("seeds") if arguments.recipe else {}
    result = {
        **what,
        "benchmark": arguments.benchmark,
        "title": spec.title,
        **found,
        "seeds": seeds,
        "source": spec.source,
        "pictures": {"scored": len(benchmark), "of": total},
        **({"remarks": list(remarks)} if remarks else {}),
    }
    print(
        f"{spec.title}, {len(benchmark.names)} classes, by {home.resolve().name}"
        + (f", {len(seeds)} seed{'s' * (len(seeds) > 1)}" if seeds else "")
    )
    print(*outside.summary(result, speed), sep="\n")
    if out:
        write_json(result, out)
        print(out)


def difference(arguments: argparse.Namespace) -> None:
    """mIoU of a recipe less that of another on the run's own test pictures, with the 95 % interval
    of a paired bootstrap over pictures."""
    from captionseg.records import UserError
    from captionseg.reporting.differences import difference as measured

    if arguments.bootstrap < 1:
        raise UserError("--bootstrap must not be below 1")
    found = measured(
        arguments.areas, arguments.recipe, arguments.other, samples=arguments.bootstrap, seed=0
    )
    print(
        f"{arguments.recipe} less {arguments.other}: {found.mean:+.2f} mIoU  (95 % "
        f"{found.low:+.2f} to {found.high:+.2f}), ahead in {100 * found.better:.1f} % of "
        f"{arguments.bootstrap} data sets"
    )


def own_name(root: Path) -> str:
    """What the params.yaml of a checkout calls its own data; empty where there is none."""
    if not (root / "params.yaml").is_file():
        return ""
    from captionseg.params import Params

    return Params(root / "params.yaml").evaluate.name


def query_segments(arguments: argparse.Namespace) -> None:
    """Find the segments that a text fits best; print them as a table, write a sheet of their
    pictures.
    """
    from captionseg.inference.inputs import Prepared
    from captionseg.inference.segment_index import SegmentModel, open_index
    from captionseg.records import UserError
    from captionseg.reporting.overlay import check_writable, write_picture
    from captionseg.reporting.query import contact_sheet, table, with_pictures

    text, root = " ".join(arguments.text.split()), arguments.segments.parent
    if not text:
        raise UserError('text: nothing to look for; say what, for example "a red apple"')
    if arguments.k < 1:
        raise UserError(f"-k: {arguments.k} segments are none; ask for at least 1")
    check_writable(arguments.out)
    prepared = Prepared(root / "pairs", root / "index", root / "regions", root / "features")
    model = SegmentModel.load(arguments.model, device=arguments.device)
    folder = arguments.index or root / "segment_index" / arguments.model.resolve().name
    index = open_index(folder, arguments.segments, model, prepared)
    query = model.texts([text])[0]
    hits = index.search(query, arguments.k, min_score=arguments.min_score)
    if not hits:
        best = index.search(query, 1)[0].score
        print(
            f"no segment of {len(index)} has a score of {arguments.min_score:g}; the best has "
            f"{best:.3f}"
        )
        return
    found = with_pictures(hits, prepared)
    title = f'"{text}"   in {len(index)} segments, by {arguments.model.name}'
    write_picture(contact_sheet(title, found), arguments.out)
    print(*table(found), arguments.out, sep="\n")


def convert(arguments: argparse.Namespace) -> None:
    """Convert a folder with a GroupViT of transformers (config.json, model.safetensors) into one of
    ours, or back.
    """
    from captionseg.modeling.groupvit_checkpoint import convert as run

    print(run(arguments.source, arguments.target))


def export_segments(arguments: argparse.Namespace) -> None:
    """Write the segments of stage segment_text as SA-1B has them, OUT/KEY.json, with a key `texts`
    more.
    """
    from captionseg.segment_text.export import export_sa1b

    print(
        f"{export_sa1b(arguments.segments, arguments.pairs, arguments.out)} files in "
        f"{arguments.out}"
    )


def segment(arguments: argparse.Namespace) -> None:
    """Find the label that fits best for each pixel of a picture; write it tinted by them, print
    their shares of it.
    """
    import numpy as np

    from captionseg.inference import Predictor, Protocol, RefineParams, read_image
    from captionseg.records import UserError
    from captionseg.reporting.overlay import (
        IGNORED,
        check_writable,
        overlay,
        palette,
        with_legend,
        write_picture,
    )
    from captionseg.segmenters import MasksParams
    from captionseg.text.labels import read_labels

    labels = read_labels(arguments.labels)
    if arguments.picture.is_dir():
        raise UserError(f"{arguments.picture}: a folder; name an image file")
    out = arguments.out or arguments.picture.with_name(f"{arguments.picture.stem}_segments.png")
    check_writable(out)
    if arguments.mask and same(arguments.mask, out):
        raise UserError(f"{out}: --mask and --out name one file; the mask needs its own")
    if same(out, arguments.picture) or (arguments.mask and same(arguments.mask, arguments.picture)):
        raise UserError(
            f"{arguments.picture}: is the picture itself, which is never written over; name "
            "another file"
        )
    if arguments.mask and check_writable(arguments.mask) != "PNG":
        raise UserError(f"{arguments.mask}: labels are written as PNG; end the name with .png")
    picture = read_image(arguments.picture)
    protocol = Protocol(
        refine=RefineParams(arguments.refine) if arguments.refine else None,
        masks=MasksParams(arguments.masks) if arguments.masks else None,
    )
    predictor = Predictor.load(
        arguments.model, device=arguments.device, background=arguments.background, protocol=protocol
    )
    found = predictor.segment(picture, labels).astype(
        np.uint8
    )  # background is -1, here 255: left as it is
    if arguments.mask:
        write_picture(found, arguments.mask)
    every = np.bincount(found.ravel(), minlength=IGNORED + 1) / found.size
    colours, share, left = palette(len(labels)), every[: len(labels)], every[IGNORED]
    texts = [f"{label}  {100 * part:.0f} %" for label, part in zip(labels, share, strict=True)]
    write_picture(with_legend(overlay(picture, found, colours), texts, colours), out)
    rows = sorted(zip(labels, share, strict=True), key=lambda pair: -pair[1])
    if left or arguments.background is not None:
        rows.append(("(background)", left))
    width = max(len(label) for label, _ in rows)
    for label, part in rows:
        print(f"{label:{width}}  {100 * part:5.1f} %")
    print(out)


def same(one: Path, other: Path) -> bool:
    """Whether two names are of one file, whatever links lead to it."""
    return one.resolve() == other.resolve() or (
        one.exists() and other.exists() and one.samefile(other)
    )


def check_params(arguments: argparse.Namespace) -> None:
    """Read every section of params.yaml and every rule of its gate; say what does not fit and what
    would.
    """
    from captionseg.checks import check
    from captionseg.params import Params

    params = Params(arguments.params)
    check(params, done=params.SECTIONS if arguments.no_files else ())
    print(
        f"{arguments.params}: fine ({len(params.recipes)} recipes, {len(params.gate)} rules of the "
        "gate)"
    )


if __name__ == "__main__":
    sys.exit(main())
