"""Runs a stage: params -> seed -> work folder -> tracker -> main() -> outputs moved into place.

    python -m stages.run download --pairs data/pairs --truth data/truth

`main(params, *, ...)` of a stage says by its annotations which arguments are inputs (In), outputs
(Out, Renewed, Persistent) or words. It writes its outputs in a work folder named by the hash of
params, inputs and code. A stage that was killed finds that folder again and goes on with what is in
it; a stage that ends well renames it into place. DVC empties `outs` before it runs a stage, so
unfinished work must live elsewhere.

Only one run at a time writes the same outputs; others wait, see captionseg.runtime.outputs. A stage
ends when the DVC that runs it ends, however that happens. A stage started by hand does not: under
nohup or in another session it outlives its shell. On SIGTERM, SIGHUP or SIGINT it stops its workers
and exits with 128 plus the signal's number; a second Ctrl-C ends it immediately.

A stage in SEVERAL runs in several processes, as section `runtime` says, see
captionseg.runtime.launch: all of them call its main, but only the first has a tracker and a work
folder, and moves outputs.
"""

from __future__ import annotations

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
from captionseg.runtime.ending import end_process
from captionseg.runtime.launch import read_place
from captionseg.runtime.lifeline import follow_dvc
from captionseg.runtime.outputs import lock_outputs, move_all
from captionseg.runtime.start_up import collect_nothing
from captionseg.storage.writing import describe_trouble, remove_parts
from captionseg.tracking.deferred_tracker import DeferredTracker
from captionseg.tracking.log_handler import Handler
from captionseg.tracking.recipe_labels import list_labels
from captionseg.tracking.tracker import NullTracker, Tracker, prepare_writer
from captionseg.tracking.tracker import start as start_tracker
from stages.arguments import check_inputs, insert_recipe, parse
from stages.kinds import In, Persistent, Renewed
from stages.work_folder import MOVED, plan_places, select_params

log = logging.getLogger(__name__)

STAGES = (
    "download",
    "caption",
    "regions",
    "index",
    "curate",
    "segment_text",
    "validate",
    "pretrain",
    "evaluate",
    "report",
    "compare",
)
SEVERAL = ("pretrain",)
AFRESH = ("curate", "validate", "evaluate", "report", "compare")
"""Stages that do not resume, so their work folder must be empty when they start."""


def run(name: str, argv: list[str], *, root: Path = Path()) -> dict[str, float]:
    """Run one stage and return its metrics.

    Raises:
        UserError: a user error, in one line.
    """
    stage = import_stage(name)
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
        # another run may have changed the inputs while this one waited
        check_inputs(name, arguments, kinds)
        work, outputs = plan_places(name, params, stage, arguments, kinds, root=root)
        if name in AFRESH:
            shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        moves = {source: arguments[key] for key, source in outputs.items()}
        with start_tracker(name, arguments.get("recipe"), root=root, params=params.raw) as tracker:
            announce(tracker, stage, params, arguments, kinds)
            say_licences(name, params, arguments.get("recipe", ""))
            deferred = DeferredTracker(tracker, moves)
            earlier = {key: arguments[key] for key, kind in kinds.items() if kind is Renewed}
            given = {**arguments, **outputs}
            metrics = call(stage.main, params, given, tracker=deferred, earlier=earlier)
            sure()
            for source in moves:
                remove_parts(source)  # left by killed runs of this work folder
            move_all(moves)
            deferred.send()
            tracker.metrics(metrics)
        shutil.rmtree(work, ignore_errors=True)
    return metrics


def import_stage(name: str) -> typing.Any:
    """Import the module of a stage, with the libraries of its work."""
    with collect_nothing():
        return importlib.import_module(f"stages.{name}")


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
    """Record what is known before a run starts: its inputs, the labels of its recipe, its
    params.
    """
    words = {k: str(v) for k, v in arguments.items() if kinds[k] is str}
    recipe = words.get("recipe")
    tracker.inputs({key: arguments[key] for key, kind in kinds.items() if kind is In})
    tracker.tags(
        list_labels(params, recipe) if recipe and recipe in params.raw.get("recipes", {}) else {}
    )
    tracker.params(select_params(params, stage.PARAMS, words))


def say_licences(name: str, params: Params, recipe: str) -> None:
    """Log one line for each part that a stage loads whose licence forbids commercial use."""
    from captionseg.checks.licences import list_forbidding  # imports what stages import anyway

    for line in list_forbidding(params, stage=name, recipe=recipe):
        log.warning(line)


def check_once(name: str, *, root: Path = Path()) -> None:
    """Check the whole of params.yaml before the first stage of a run, whichever that is.

    The result is remembered, because a check imports the library. Files that only earlier stages
    read need not exist; outside of DVC, sections of other stages may be missing.

    Raises:
        UserError: one line per mistake.
    """
    params, mark = Params(root / "params.yaml"), root / ".work" / "checked"
    if "DVC_STAGE" not in os.environ and not params.raw.keys() >= set(Params.SECTIONS):
        return params.check(all_sections=False)
    code = [
        f"{file}:{file.stat().st_mtime_ns}"
        for file in sorted(Path(captionseg.__file__).parent.rglob("*.py"))
    ]
    state = json.dumps([params.raw, code], sort_keys=True, default=str)
    key = hashlib.sha256(state.encode("utf-8", "backslashreplace")).hexdigest()
    if not mark.is_file() or mark.read_text(encoding="utf-8") != key:
        from captionseg.checks.check import check  # takes seconds: it imports all models

        check(params, done=STAGES[: STAGES.index(name)])
        mark.parent.mkdir(exist_ok=True)
        mark.write_text(key, encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 after one line on stderr for a user error."""
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
    if os.environ.get("RANK", "0") == "0":
        prepare_writer()
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
    """Handle a signal: exit with 128 plus its number, after the workers have stopped."""
    # a signal to a process group also ends DVC, whose end would end us
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if number == signal.SIGINT:
        if multiprocessing.parent_process() is not None:
            # a terminal sends Ctrl-C to all processes; loaders of batches handle it
            raise KeyboardInterrupt
        if os.environ.get("RANK", "0") == "0":
            print(
                "interrupted; the next run resumes from the finished parts",
                file=sys.stderr,
                flush=True,
            )
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for told in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # nohup ignores SIGHUP, and shells ignore SIGINT for background jobs
        if signal.getsignal(told) is not signal.SIG_IGN:
            signal.signal(told, end_stage)
    follow_dvc()
    end_process(main())
