"""`captionseg evaluate --benchmark voc --root /data --recipe cocu-mil`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

MODELS, RESULTS = Path("models"), Path("reports/benchmarks")
MODEL = MODELS / "cocu_calibrated-mil"


def add(commands: argparse._SubParsersAction) -> None:
    """The arguments of `evaluate`."""
    one = commands.add_parser(
        "evaluate",
        help="score models on a published benchmark, or a folder of your own",
        description=run.__doc__,
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
    add_protocol(one)
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
    one.set_defaults(run=run)


def add_protocol(one: argparse.ArgumentParser) -> None:
    """The arguments that say how pictures are labelled and what counts."""
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


def run(arguments: argparse.Namespace) -> None:
    """Score a model, or all seeds of a recipe, on a benchmark as unpacked from its archives: mIoU
    (accuracy, mask mAP) with a 95 % interval over pictures, worst and best classes, pictures a
    second, and the protocol."""
    from captionseg.benchmarks import score_saved_models
    from captionseg.benchmarks.command import result_path, scoring_options
    from captionseg.benchmarks.held_out import HeldOut
    from captionseg.benchmarks.published.catalogue import find_benchmark, open_benchmark
    from captionseg.benchmarks.recipe import seeds_of
    from captionseg.inference.model_encoder import check_encoder, encoder_of
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
    found, speed = score_saved_models.evaluate(folders, encoder_of(home), benchmark, options)
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
    print(*score_saved_models.format_result(result, speed), sep="\n")
    if out:
        write_json(result, out)
        print(out)


def read_own_name(root: Path) -> str:
    """What the params.yaml of a checkout calls its own data; empty where there is none."""
    if not (root / "params.yaml").is_file():
        return ""
    from captionseg.params import Params

    return Params(root / "params.yaml").evaluate.name
