"""`captionseg evaluate --benchmark voc --root /data --recipe cocu-mil`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

MODELS, RESULTS = Path("models"), Path("reports/benchmarks")
MODEL = MODELS / "cocu_calibrated-mil"


def add(commands: argparse._SubParsersAction) -> None:
    """Add `evaluate` and its arguments."""
    one = commands.add_parser(
        "evaluate",
        help="score models on a published benchmark or on your own data",
        description=run.__doc__,
    )
    one.add_argument(
        "--benchmark",
        required=True,
        metavar="NAME",
        help="name of the benchmark; an unknown name lists all",
    )
    one.add_argument(
        "--root",
        type=Path,
        default=Path(),
        help="folder with its unpacked archives; for your own data, the checkout "
        "(default: current folder)",
    )
    what = one.add_mutually_exclusive_group()
    what.add_argument(
        "--recipe",
        metavar="NAME",
        help="score all trained seeds of models/NAME and write "
        "reports/benchmarks/NAME/BENCHMARK[@PROTOCOL].json (not with --limit)",
    )
    what.add_argument(
        "--model", type=Path, default=MODEL, help="folder of one model (default: %(default)s)"
    )
    add_protocol(one)
    one.add_argument(
        "--bootstrap",
        type=int,
        default=1000,
        metavar="N",
        help="number of bootstrap samples for the interval (default: %(default)s)",
    )
    one.add_argument(
        "--out", type=Path, metavar="JSON", help="file to write all scores and the protocol to"
    )
    one.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    one.set_defaults(run=run)


def add_protocol(one: argparse.ArgumentParser) -> None:
    """Add the arguments that set how pictures are labelled and which pixels count."""
    one.add_argument(
        "--protocol",
        choices=["groupvit", "tcl", "use"],
        help="use a paper's prompts, windows, refinement, scores and background "
        "(default: as saved with the model)",
    )
    one.add_argument(
        "--prompts",
        choices=["simple", "subset", "segment", "tcl", "imagenet"],
        help="prompt templates for the class names (default: subset for ImageNet, otherwise the "
        "protocol's or as saved)",
    )
    one.add_argument(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="score only N pictures, evenly spaced (default: all)",
    )
    one.add_argument(
        "--background",
        metavar="SCORE",
        help="score of the background, if it is a class: a number, or `published` for GroupViT's "
        "threshold on this benchmark (default: the protocol's or as saved; otherwise the word "
        "`background` is embedded)",
    )
    one.add_argument(
        "--windows",
        metavar="SHORT,CROP,STRIDE",
        help="sliding windows in pixels, for models that use them (default: the protocol's, or as "
        "published for this benchmark)",
    )
    one.add_argument("--refine", choices=["none", "pamr", "segments"], help="as in `segment`")
    one.add_argument("--masks", choices=["regions", "hierarchy"], help="as in `segment`")
    one.add_argument(
        "--ignore",
        metavar="VALUES",
        help="mask values to ignore in a folder of your own, such as 0,255 (default: the line "
        "`# ignore: ..` of classes.txt, otherwise 255)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Score a model, or all seeds of a recipe, on an unpacked benchmark. Prints mIoU (accuracy,
    mask mAP) with its 95 % interval over pictures, the worst and best classes, pictures per second,
    and the protocol.
    """
    from captionseg.benchmarks import score_saved_models
    from captionseg.benchmarks.command import result_path, scoring_options
    from captionseg.benchmarks.held_out import HeldOut
    from captionseg.benchmarks.published.catalogue import find_benchmark, open_benchmark
    from captionseg.benchmarks.recipe import seeds_of
    from captionseg.inference.model_encoder import check_encoder, find_encoder
    from captionseg.storage.writing import write_json

    out = result_path(arguments, RESULTS)
    spec = find_benchmark(arguments.benchmark, read_own_name(arguments.root))
    options = scoring_options(arguments, spec)
    benchmark, total = open_benchmark(
        spec, arguments.root, limit=arguments.limit, ignore=arguments.ignore
    )
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
    scores, speed = score_saved_models.evaluate(folders, find_encoder(home), benchmark, options)
    seeds = scores.pop("seeds") if arguments.recipe else {}
    result = {
        **what,
        "benchmark": arguments.benchmark,
        "title": spec.title,
        **scores,
        "seeds": seeds,
        "source": spec.source,
        "pictures": {"scored": len(benchmark), "of": total},
        **({"remarks": list(remarks)} if remarks else {}),
    }
    print(
        f"{spec.title}, {len(benchmark.names)} classes, by {home.resolve().name}"
        + (f", {len(seeds)} seed{'s' * (len(seeds) > 1)}" if seeds else "")
    )
    print(*score_saved_models.format_result(result, speed), sep="\n")
    if out:
        write_json(result, out)
        print(out)


def read_own_name(root: Path) -> str:
    """Return the name that the params.yaml of a checkout gives its own data; empty without one."""
    if not (root / "params.yaml").is_file():
        return ""
    from captionseg.params import Params

    return Params(root / "params.yaml").evaluate.name
