"""`captionseg evaluate --benchmark voc --root /data --recipe cocu-mil`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captionseg.commands.options import PATH, add_device, add_labelling, add_options, make_command
from captionseg.terminal import is_quiet

if TYPE_CHECKING:
    from captionseg.benchmarks.command import Arguments
    from captionseg.benchmarks.published.catalogue import Spec

MODELS, RESULTS = Path("models"), Path("reports/benchmarks")

add_models = add_options(
    click.option(
        "--recipe",
        metavar="NAME",
        help="score all trained seeds of models/NAME and write "
        "reports/benchmarks/NAME/BENCHMARK[@PROTOCOL].json (not with --limit)",
    ),
    click.option(
        "--model",
        metavar="MODEL",
        help="folder or MLflow address of one model; not with --recipe (default: the best in "
        "models/, or else the one that came with the package)",
    ),
)
"""Which models are scored."""

add_pixels = add_options(
    click.option(
        "--background",
        metavar="SCORE",
        help="score of the background, if it is a class: a number, or `published` for GroupViT's "
        "threshold on this benchmark (default: the protocol's or as saved; otherwise the word "
        "`background` is embedded)",
    ),
    click.option(
        "--windows",
        metavar="SHORT,CROP,STRIDE",
        help="sliding windows in pixels, for models that use them (default: the protocol's, or as "
        "published for this benchmark)",
    ),
    add_labelling(),
    click.option(
        "--ignore",
        metavar="VALUES",
        help="mask values to ignore in a folder of your own, such as 0,255 (default: the line "
        "`# ignore: ..` of classes.txt, otherwise 255)",
    ),
)
"""How single pixels are labelled, and which count."""

add_protocol = add_options(
    click.option(
        "--protocol",
        type=click.Choice(["groupvit", "tcl", "use"]),
        help="use a paper's prompts, windows, refinement, scores and background "
        "(default: as saved with the model)",
    ),
    click.option(
        "--prompts",
        type=click.Choice(["simple", "subset", "segment", "tcl", "imagenet"]),
        help="prompt templates for the class names (default: subset for ImageNet, otherwise the "
        "protocol's or as saved)",
    ),
    click.option(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="score only N pictures, evenly spaced (default: all)",
    ),
    add_pixels,
)
"""How pictures are labelled."""


@make_command("evaluate", "score models on a published benchmark or on your own data")
@click.option(
    "--benchmark",
    required=True,
    metavar="NAME",
    help="name of the benchmark; an unknown name lists all",
)
@click.option(
    "--root",
    type=PATH,
    default=Path(),
    help="folder with its unpacked archives; for your own data, the checkout (default: current "
    "folder)",
)
@add_models
@add_protocol
@click.option(
    "--bootstrap",
    type=int,
    default=1000,
    show_default=True,
    metavar="N",
    help="number of bootstrap samples for the interval",
)
@click.option("--out", type=PATH, metavar="JSON", help="file for all scores and the protocol")
@click.option(
    "--areas",
    type=PATH,
    metavar="FOLDER",
    help="with --recipe: write FOLDER/RECIPE.parquet, the areas of every picture, seed and class, "
    "for `captionseg difference --areas FOLDER`",
)
@add_device
def command(root: Path, areas: Path | None, **options: Any) -> None:
    """Score a model, or all seeds of a recipe, on an unpacked benchmark. Prints mIoU (accuracy,
    mask mAP) with its 95 % interval over pictures, the worst and best classes, pictures per second,
    and the protocol.
    """
    from captionseg.api.model_folders import find_folder
    from captionseg.benchmarks.command import Arguments

    model = options.pop("model")
    if options["recipe"] and model:
        raise click.UsageError("--model: not allowed with --recipe")
    if not options["recipe"]:
        options["model"] = find_folder(model)
        if model is None and not is_quiet():
            print(f"model: {options['model']}", file=sys.stderr)
    score(Arguments(**options), root, areas)


def score(arguments: Arguments, root: Path, areas: Path | None) -> None:
    """Score models as `command` says.

    Args:
        arguments: the options.
        root: folder of the benchmark.
        areas: folder to write; None writes none.
    """
    from captionseg.benchmarks import score_saved_models
    from captionseg.benchmarks.command import result_path, scoring_options
    from captionseg.benchmarks.folder_benchmark import FolderBenchmark
    from captionseg.benchmarks.published.catalogue import PUBLISHED, find_benchmark, open_benchmark
    from captionseg.inference.model_encoder import find_encoder
    from captionseg.records import UserError
    from captionseg.storage.writing import write_json

    out = result_path(arguments, RESULTS)
    # a folder of pictures may lie in the checkout of another project
    own = "" if arguments.benchmark in PUBLISHED else read_own_name(root)
    spec = find_benchmark(arguments.benchmark, own)
    options = scoring_options(arguments, spec)
    benchmark, total = open_benchmark(spec, root, limit=arguments.limit, ignore=arguments.ignore)
    if areas and not (arguments.recipe and isinstance(benchmark, FolderBenchmark)):
        raise UserError("--areas: needs --recipe, and a benchmark of pictures with masks")
    remarks = getattr(benchmark, "remarks", ())
    for line in remarks:
        print(f"note: {line}", file=sys.stderr)
    home, folders = find_models(arguments, benchmark)
    scores, speed, measured = score_saved_models.evaluate(
        folders, find_encoder(home), benchmark, options
    )
    name = home.resolve().name
    result = describe(arguments, spec, name, scores) | {
        "pictures": {"scored": len(benchmark), "of": total},
        **({"remarks": list(remarks)} if remarks else {}),
    }
    seeds = result["seeds"]
    of_seeds = f", {len(seeds)} seed{'s' * (len(seeds) > 1)}" if seeds else ""
    print(f"{spec.title}, {len(benchmark.names)} classes, by {name}{of_seeds}")
    print(*score_saved_models.format_result(result, speed), sep="\n")
    if out:
        write_json(result, out)
        print(out)
    if areas and isinstance(benchmark, FolderBenchmark):
        path = areas / f"{arguments.recipe}.parquet"
        score_saved_models.write_areas(benchmark, measured, path)
        print(path)


def describe(
    arguments: Arguments, spec: Spec, name: str, scores: Mapping[str, Any]
) -> dict[str, Any]:
    """Return scores with what was scored; a model alone has no seeds.

    Args:
        arguments: the options.
        spec: the benchmark.
        name: name of the model's folder.
        scores: what `score_saved_models.evaluate` returned.
    """
    return {
        **({"recipe": arguments.recipe} if arguments.recipe else {"model": name}),
        "benchmark": arguments.benchmark,
        "title": spec.title,
        **scores,
        "seeds": scores["seeds"] if arguments.recipe else {},
        "source": spec.source,
    }


def find_models(arguments: Arguments, benchmark: object) -> tuple[Path, Mapping[Any, Path]]:
    """Return the folder of the recipe or model, and those of its seeds; seed "" is a model alone.

    Raises:
        UserError: a recipe is not trained, or its encoder is not that of the run's own pictures.
    """
    from captionseg.benchmarks.own_split import HeldOut
    from captionseg.benchmarks.recipe import seeds_of
    from captionseg.inference.model_encoder import check_encoder

    home = MODELS / arguments.recipe if arguments.recipe else arguments.model
    folders = seeds_of(home) if arguments.recipe else {"": home}
    if isinstance(benchmark, HeldOut):
        check_encoder(home, benchmark.folders.prepared.encoder)
    return home, folders


def read_own_name(root: Path) -> str:
    """Return the name that the params.yaml of a checkout gives its own data; empty without one, and
    in a checkout of another project, whose params have no section `evaluate`.
    """
    from captionseg.params import Params
    from captionseg.storage.yaml_numbers import has_section

    path = root / "params.yaml"
    return Params(path).evaluate.name if has_section(path, "evaluate") else ""
