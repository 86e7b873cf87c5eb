"""How every stage is run: params -> seed -> work folder -> tracker -> main() -> outputs moved into
place.

    python -m stages.run download --pairs data/pairs --truth data/truth

`main(params, *, ...)` of a stage says by its annotations which arguments are inputs (In), outputs
(Out, Renewed, Persistent) or words. It writes its outputs in a work folder named by the hash of
params, inputs and code. A stage that was killed finds that folder again and goes on with what is in
it; a stage that ends well renames it into place. DVC empties `outs` before it runs a stage, so
unfinished work must live elsewhere.

One run at a time writes the same outputs, see captionseg.runtime.outputs: a second one waits. A
stage ends when the DVC that runs it is gone, in whatever way. One that is started by hand follows
nobody: under nohup or in a session of its own it outlives the shell that it came from. Told to end
(SIGTERM, SIGHUP, SIGINT) it takes its workers along, and says so in its code alone: 128 and the
signal's number; a second Ctrl-C ends it at once.

A stage of SEVERAL runs in as many processes as section `runtime` says, see
captionseg.runtime.launch: all of them call its main, and the first alone has a tracker and a work
folder, and moves outputs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import captionseg
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.runtime.launch import read_place
from captionseg.runtime.lifeline import follow_dvc
from captionseg.runtime.outputs import lock_outputs, move_all
from captionseg.storage.writing import describe_trouble, remove_parts
from captionseg.tracking.deferred_tracker import DeferredTracker
from captionseg.tracking.labels import list_labels
from captionseg.tracking.lines import Handler
from captionseg.tracking.tracker import NullTracker, Tracker
from captionseg.tracking.tracker import start as start_tracker
from stages.kinds import In, Out, Persistent, Renewed

STAGES = (
    "download",
    "caption",
    "index",
    "regions",
    "curate",
    "segment_text",
    "validate",
    "pretrain",
    "evaluate",
    "report",
    "compare",
)
MOVED = (Out, Renewed)
SEVERAL = ("pretrain",)
AFRESH = ("curate", "validate", "evaluate", "report", "compare")
"""They take up nothing of a run that was killed, so nothing of it may stay among their files."""


def run(name: str, argv: list[str], *, root: Path = Path()) -> dict[str, float]:
    """Run one stage; returns its metrics, as they went to the tracker.

    Raises:
        UserError: a mistake of the user's, in one line.
    """
    stage = importlib.import_module(f"stages.{name}")
    arguments, kinds = parse(stage.main, name, insert_recipe(argv))
    params = Params(root / "params.yaml")
    random.seed(params.seed)
    np.random.seed(params.seed)
    if name in SEVERAL and not read_place(params.runtime).main:
        _, outputs = plan_places(name, params, stage, arguments, kinds, root=root)
        return call(stage.main, params, {**arguments, **outputs}, tracker=NullTracker())
    written = [arguments[key] for key, kind in kinds.items() if kind in (*MOVED, Persistent)]
    with lock_outputs(
        written, root=root, say=lambda line: print(f"{name}: {line}", file=sys.stderr, flush=True)
    ) as sure:
        # another run may have changed them while this one waited
        check_inputs(name, arguments, kinds)
        work, outputs = plan_places(name, params, stage, arguments, kinds, root=root)
        if name in AFRESH:
            shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        moves = {source: arguments[key] for key, source in outputs.items()}
        with start_tracker(name, arguments.get("recipe"), root=root, params=params.raw) as tracker:
            announce(tracker, stage, params, arguments, kinds)
            deferred = DeferredTracker(tracker, moves)
            earlier = {key: arguments[key] for key, kind in kinds.items() if kind is Renewed}
            given = {**arguments, **outputs}
            metrics = call(stage.main, params, given, tracker=deferred, earlier=earlier)
            sure()
            for source in moves:
                remove_parts(source)  # of earlier runs of this work that were killed
            move_all(moves)
            deferred.send()
            tracker.metrics(metrics)
        shutil.rmtree(work, ignore_errors=True)
    return metrics


def plan_places(
    name: str, params: Params, stage: typing.Any, arguments: dict, kinds: dict, *, root: Path
) -> tuple[Path, dict[str, Path]]:
    """The work folder of a run, and in it the places of its outputs, by argument.

    Raises:
        UserError: if two outputs would have the same.
    """
    work = root / ".work" / name / hash_work(params, stage.PARAMS, arguments, kinds)
    found = {key: work / arguments[key].name for key, kind in kinds.items() if kind in MOVED}
    if len(set(found.values())) < len(found):
        raise UserError(
            f"{name}: outputs need different names, found "
            f"{', '.join(p.name for p in found.values())}"
        )
    return work, found


def call(
    main: typing.Callable[..., object],
    params: Params,
    arguments: Mapping[str, typing.Any],
    **offered: typing.Any,
) -> dict[str, float]:
    """The metrics that the main of a stage returns; of what is offered it gets what it names."""
    asked = inspect.signature(main).parameters
    extra = {name: value for name, value in offered.items() if name in asked}
    return main(params, **arguments, **extra) or {}  # type: ignore[return-value]


def announce(
    tracker: Tracker,
    stage: typing.Any,
    params: Params,
    arguments: Mapping[str, typing.Any],
    kinds: Mapping[str, object],
) -> None:
    """What is known of a run before it begins: what it reads, whose recipe it is, what was
    chosen."""
    words = {k: str(v) for k, v in arguments.items() if kinds[k] is str}
    recipe = words.get("recipe")
    tracker.inputs({key: arguments[key] for key, kind in kinds.items() if kind is In})
    tracker.tags(
        list_labels(params, recipe) if recipe and recipe in params.raw.get("recipes", {}) else {}
    )
    tracker.params(select_params(params, stage.PARAMS, words))


def check_once(name: str, *, root: Path = Path()) -> None:
    """Check the whole of params.yaml before the first stage of a run, whichever that is.

    What was checked is not checked again, for that imports the library. Files that only earlier
    stages read may be gone; outside of DVC, which runs them all, sections of others may be missing.

    Raises:
        UserError: a line for each mistake.
    """
    params, mark = Params(root / "params.yaml"), root / ".work" / "checked"
    if "DVC_STAGE" not in os.environ and not params.raw.keys() >= set(Params.SECTIONS):
        return params.check(whole=False)
    code = [
        f"{file}:{file.stat().st_mtime_ns}"
        for file in sorted(Path(captionseg.__file__).parent.rglob("*.py"))
    ]
    state = json.dumps([params.raw, code], sort_keys=True, default=str)
    key = hashlib.sha256(state.encode("utf-8", "backslashreplace")).hexdigest()
    if not mark.is_file() or mark.read_text() != key:
        from captionseg.checks import check  # seconds: it knows all models

        check(params, done=STAGES[: STAGES.index(name)])
        mark.parent.mkdir(exist_ok=True)
        mark.write_text(key)


def insert_recipe(argv: list[str], environ: typing.Mapping[str, str] = os.environ) -> list[str]:
    """The words of a command, `@recipe` in them replaced by the recipe's name.

    It is that of --recipe, or of the stage as DVC calls it (pretrain@NAME): a shell runs the
    commands of dvc.yaml, so nothing of params.yaml may stand in them.

    Raises:
        UserError: if neither says it.
    """
    if not any("@recipe" in word for word in argv):
        return argv
    given = argv[argv.index("--recipe") + 1] if "--recipe" in argv[:-1] else "@recipe"
    name = environ.get("DVC_STAGE", "").partition("@")[2] if given == "@recipe" else given
    if not name:
        raise UserError(
            "--recipe @recipe is the recipe that DVC_STAGE names, and it names none; give "
            "--recipe NAME"
        )
    return [word.replace("@recipe", name) for word in argv]


def parse(main: typing.Callable[..., object], name: str, argv: list[str]) -> tuple[dict, dict]:
    """Command-line arguments from the keyword arguments of a stage's main; their values and their
    kinds.
    """
    hints = typing.get_type_hints(main)
    kinds = {
        k: hints[k]
        for k, p in inspect.signature(main).parameters.items()
        if p.kind is p.KEYWORD_ONLY and k not in ("tracker", "earlier")
    }
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.run {name}", description=inspect.getdoc(main)
    )
    for key, kind in kinds.items():
        parser.add_argument(
            "--" + key.replace("_", "-"), required=True, type=str if kind is str else Path
        )
    arguments = vars(parser.parse_args(argv))
    check_inputs(name, arguments, kinds)
    return arguments, kinds


def check_inputs(name: str, arguments: dict, kinds: dict) -> None:
    """Refuse inputs that are not there."""
    for key, kind in kinds.items():
        if kind is In and not arguments[key].exists():
            raise UserError(
                f"{name}: input {arguments[key]} does not exist; run the stage that writes it: "
                "`dvc repro`"
            )


def select_params(params: Params, names: tuple[str, ...], words: dict) -> dict[str, object]:
    """The values of a stage's PARAMS: sections, or dotted names inside them, where {word} stands
    for an argument.
    """
    found = {}
    for name in names:
        parts, value = [part.format(**words) for part in name.split(".")], params.raw
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        found[".".join(parts)] = value
    return found


def hash_work(params: Params, names: tuple[str, ...], arguments: dict, kinds: dict) -> str:
    """Hash of everything that decides a stage's outputs: its params, its inputs' state and the
    code.
    """
    state = [json.dumps(select_params(params, names, arguments), sort_keys=True)]
    state += [f"{k}={v}" for k, v in sorted(arguments.items())]
    roots = [arguments[k] for k, kind in kinds.items() if kind is In]
    roots += [Path(__file__).parent, Path(__file__).parents[1] / "captionseg"]
    for top in roots:
        files = (
            [top]
            if top.is_file()
            else sorted(p for p in top.rglob("*") if p.is_file() and p.suffix != ".pyc")
        )
        # wherever the checkout is moved to
        for found, path in ((p.stat(), p.relative_to(top)) for p in files):
            state.append(f"{top.name}/{path}:{found.st_size}:{found.st_mtime_ns}")
    return hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after one line on stderr for a mistake of the user's."""
    argv = sys.argv[1:] if argv is None else argv
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", handlers=[Handler()]
    )
    logging.captureWarnings(True)
    logging.getLogger("captionseg").setLevel(logging.INFO)
    if not argv or argv[0] not in STAGES:
        print(
            f"usage: python -m stages.run {{{','.join(STAGES)}}} --input PATH ...", file=sys.stderr
        )
        return 2
    try:
        check_once(argv[0])
        run(argv[0], argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if not (line := describe_trouble(error)):
            raise
        print(f"error: {argv[0]}: {line}", file=sys.stderr)
        return 1
    return 0


def end_stage(number: int, _: object) -> None:
    """A stage that gets a signal says in its code that it did not end well, once it has taken its
    workers along.
    """
    # whoever ends a group of processes ends DVC too, which we follow
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if number == signal.SIGINT:
        if multiprocessing.parent_process() is not None:
            # a terminal's goes to all processes; those that load batches know it
            raise KeyboardInterrupt
        if os.environ.get("RANK", "0") == "0":
            print(
                "interrupted: the next run goes on from what is finished",
                file=sys.stderr,
                flush=True,
            )
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for told in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # as nohup does, and a shell for what runs in the background
        if signal.getsignal(told) is not signal.SIG_IGN:
            signal.signal(told, end_stage)
    follow_dvc()
    sys.exit(main())
