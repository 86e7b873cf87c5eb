"""How every stage is run: params -> seed -> work folder -> tracker -> main() -> outputs moved into place.

    python -m stages.run download --pairs data/pairs --truth data/truth

`main(params, *, ...)` of a stage says by its annotations which arguments are inputs (In), outputs (Out, Kept) or words.
It writes its outputs in a work folder named by the hash of params, inputs and code. A stage that was killed finds
that folder again and goes on with what is in it; a stage that ends well renames it into place. DVC empties `outs`
before it runs a stage, so unfinished work must live elsewhere.

A stage of SEVERAL runs in as many processes as section `runtime` says, see captionseg.runtime.launch: all of them call
its main, and the first alone has a tracker and a work folder, and moves outputs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import json
import logging
import os
import random
import shutil
import signal
import sys
import typing
from pathlib import Path

import numpy as np

import captionseg
from captionseg import tracking
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.runtime.launch import place
from stages.kinds import In, Out

STAGES = ("download", "caption", "index", "regions", "curate", "segment_text", "validate", "pretrain", "evaluate",
          "report", "compare")
SEVERAL = ("pretrain",)


def run(name: str, argv: list[str], *, root: Path = Path()) -> dict[str, float]:
    """Run one stage; returns its metrics, as they went to the tracker.

    Raises:
        UserError: a mistake of the user's, in one line.
    """
    stage = importlib.import_module(f"stages.{name}")
    arguments, kinds = parse(stage.main, name, named(argv))
    params = Params(root / "params.yaml")
    random.seed(params.seed)
    np.random.seed(params.seed)
    work = root / ".work" / name / work_key(params, stage.PARAMS, arguments, kinds)
    targets = {key: work / Path(arguments[key]).name for key, kind in kinds.items() if kind is Out}
    words = {k: str(v) for k, v in arguments.items() if kinds[k] is str}
    recipe = words.get("recipe")

    def call(tracker: tracking.Tracker) -> dict[str, float]:
        extra = {"tracker": tracker} if "tracker" in inspect.signature(stage.main).parameters else {}
        return stage.main(params, **{**arguments, **targets}, **extra) or {}

    if name in SEVERAL and not place(params.runtime).main:
        return call(tracking.NullTracker())
    work.mkdir(parents=True, exist_ok=True)
    with tracking.start(name, recipe, root=root, params=params.raw) as tracker:
        tracker.inputs({key: arguments[key] for key, kind in kinds.items() if kind is In})
        tracker.tags(tracking.labels(params, recipe) if recipe and recipe in params.raw.get("recipes", {}) else {})
        tracker.params(chosen(params, stage.PARAMS, words))
        metrics = call(tracker)
        tracker.metrics(metrics)
    for key, target in targets.items():
        move(target, Path(arguments[key]))
    shutil.rmtree(work, ignore_errors=True)
    return metrics


def check_once(name: str, *, root: Path = Path()) -> None:
    """Check the whole of params.yaml before the first stage of a run, whichever that is.

    What was checked is not checked again, for that imports the library. Files that only earlier stages read may be
    gone; outside of DVC, which runs them all, sections of others may be missing.

    Raises:
        UserError: a line for each mistake.
    """
    params, mark = Params(root / "params.yaml"), root / ".work" / "checked"
    if "DVC_STAGE" not in os.environ and not params.raw.keys() >= set(Params.SECTIONS):
        return params.check(whole=False)
    code = [f"{file}:{file.stat().st_mtime_ns}" for file in sorted(Path(captionseg.__file__).parent.rglob("*.py"))]
    state = json.dumps([params.raw, code], sort_keys=True, default=str)
    key = hashlib.sha256(state.encode("utf-8", "backslashreplace")).hexdigest()
    if not mark.is_file() or mark.read_text() != key:
        from captionseg.checks import check  # seconds: it knows all models

        check(params, done=STAGES[: STAGES.index(name)])
        mark.parent.mkdir(exist_ok=True)
        mark.write_text(key)


def named(argv: list[str], environ: typing.Mapping[str, str] = os.environ) -> list[str]:
    """The words of a command, `@recipe` in them replaced by the recipe's name.

    It is that of --recipe, or of the stage as DVC calls it (pretrain@NAME): a shell runs the commands of dvc.yaml, so
    nothing of params.yaml may stand in them.

    Raises:
        UserError: if neither says it.
    """
    if not any("@recipe" in word for word in argv):
        return argv
    given = argv[argv.index("--recipe") + 1] if "--recipe" in argv[:-1] else "@recipe"
    name = environ.get("DVC_STAGE", "").partition("@")[2] if given == "@recipe" else given
    if not name:
        raise UserError("--recipe @recipe is the recipe that DVC_STAGE names, and it names none; give --recipe NAME")
    return [word.replace("@recipe", name) for word in argv]


def parse(main: typing.Callable[..., object], name: str, argv: list[str]) -> tuple[dict, dict]:
    """Command-line arguments from the keyword arguments of a stage's main; their values and their kinds."""
    hints = typing.get_type_hints(main)
    kinds = {k: hints[k] for k, p in inspect.signature(main).parameters.items()
             if p.kind is p.KEYWORD_ONLY and k != "tracker"}
    parser = argparse.ArgumentParser(prog=f"python -m stages.run {name}", description=inspect.getdoc(main))
    for key, kind in kinds.items():
        parser.add_argument("--" + key.replace("_", "-"), required=True, type=str if kind is str else Path)
    arguments = vars(parser.parse_args(argv))
    for key, kind in kinds.items():
        if kind is In and not arguments[key].exists():
            raise UserError(f"{name}: input {arguments[key]} does not exist; run the stage that writes it: `dvc repro`")
    return arguments, kinds


def chosen(params: Params, names: tuple[str, ...], words: dict) -> dict[str, object]:
    """The values of a stage's PARAMS: sections, or dotted names inside them, where {word} stands for an argument."""
    found = {}
    for name in names:
        parts, value = [part.format(**words) for part in name.split(".")], params.raw
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        found[".".join(parts)] = value
    return found


def work_key(params: Params, names: tuple[str, ...], arguments: dict, kinds: dict) -> str:
    """Hash of everything that decides a stage's outputs: its params, its inputs' state and the code."""
    state = [json.dumps(chosen(params, names, arguments), sort_keys=True)]
    state += [f"{k}={v}" for k, v in sorted(arguments.items())]
    roots = [arguments[k] for k, kind in kinds.items() if kind is In]
    roots += [Path(__file__).parent, Path(__file__).parents[1] / "captionseg"]
    for top in roots:
        files = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file() and p.suffix != ".pyc")
        state += [f"{p}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in files]
    return hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]


def move(source: Path, target: Path) -> None:
    """Rename an output into place, over what is there; from another disk, by way of a copy beside the place.

    A stage that left nothing is a mistake of ours.
    """
    if not source.exists():
        raise RuntimeError(f"the stage ended without writing {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.stat(source).st_dev != os.stat(target.parent).st_dev:
        beside = target.with_name(f".{target.name}.{os.getpid()}.part")
        source = Path(shutil.move(source, beside))
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    os.replace(source, target)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after one line on stderr for a mistake of the user's."""
    argv = sys.argv[1:] if argv is None else argv
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("captionseg").setLevel(logging.INFO)
    if not argv or argv[0] not in STAGES:
        print(f"usage: python -m stages.run {{{','.join(STAGES)}}} --input PATH ...", file=sys.stderr)
        return 2
    try:
        check_once(argv[0])
        run(argv[0], argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def told_to_end(*_: object) -> None:
    """A stage that gets SIGTERM says in its code that it did not end well."""
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, told_to_end)
    sys.exit(main())
