"""Reads the stages from DVC, in an order in which they can run.

`read` runs this file as a separate program, because DVC prints warnings, locks and changes the
working directory.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS: dict[str, tuple[Any, str]] = {
    "retries": (int, "a whole number"),
    "gpu": (bool, "true or false"),
}

NO_GIT_SAID = "is not a git repository"  # part of DVC's message
NO_GIT = "; run `git init`, or without experiments `dvc config --local core.no_scm true`"


class PlanError(Exception):
    """dvc.yaml or the targets cannot be read. One line."""


@dataclass(frozen=True)
class Stage:
    """A stage of DVC, with its options in `meta.prefect`.

    Args:
        name: DVC's address: `index`, or `pretrain@cocu-mil` for one of a matrix.
        retries: number of retries after a failure; a retry resumes unfinished work.
        retry_delay_seconds: seconds before the first retry; doubled for each further one.
        timeout: seconds after which an attempt is ended and counts as failed.
        gpu: whether it needs a GPU; its task gets the tag `gpu`, for a concurrency limit.
        outs: its outputs, relative to the repository; from DVC, not an option.
        reports: outputs that are in git instead of the cache.
    """

    name: str
    retries: int = 0
    retry_delay_seconds: float = 0.0
    timeout: float | None = None
    gpu: bool = False
    outs: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()


def read(root: Path, targets: Sequence[str] = ()) -> list[Stage]:
    """Read all stages of root/dvc.yaml, or `targets` and their dependencies, in topological order.

    Raises:
        PlanError: a target does not exist, DVC cannot read dvc.yaml, or a key of `meta.prefect` is
            unknown.
    """
    # imported here, because this file is also run as a program, which cannot import the package
    from flows.git_commands import clean_environment

    # -P keeps this folder off the path, where plan.py and reproduce.py would be top-level modules.
    command = [sys.executable, "-P", "-W", "ignore", str(Path(__file__).resolve()), *targets]
    done = subprocess.run(
        command,
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=clean_environment(),
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise PlanError(
            f"dvc.yaml in {root}: {lines[-1]}{NO_GIT if NO_GIT_SAID in lines[-1] else ''}"
        )
    return [stage(name, options, outs) for name, options, outs in json.loads(done.stdout)]


def stage(name: str, options: Mapping[str, Any], outs: Mapping[str, bool] | None = None) -> Stage:
    """Build a Stage from its `meta.prefect` and its outs (whether each is cached).

    Raises:
        PlanError: for an unknown key or an invalid value.
    """
    valid = [
        field.name
        for field in dataclasses.fields(Stage)
        if field.name not in ("name", "outs", "reports")
    ]
    for key, value in options.items():
        if key not in valid:
            raise PlanError(
                f"dvc.yaml: stages.{name}.meta.prefect.{key}: unknown key (valid: "
                f"{', '.join(valid)})"
            )
        kinds, word = KINDS.get(key, ((int, float), "a number"))
        if (
            not isinstance(value, kinds)
            or (isinstance(value, bool) and kinds is not bool)
            or value < 0
        ):
            raise PlanError(
                f"dvc.yaml: stages.{name}.meta.prefect.{key}: expected {word}, found {value!r}"
            )
    outs = outs or {}
    return Stage(
        name,
        **options,
        outs=tuple(outs),
        reports=tuple(out for out, cached in outs.items() if not cached),
    )


def main(targets: list[str]) -> int:
    """Print [[name, meta.prefect, {out: is it cached}], ...] in order, for the current folder."""
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    try:
        with Repo() as repo:
            graph = repo.index.graph  # edges lead from a stage to its dependencies
            place = {stage: i for i, stage in enumerate(repo.index.stages)}
            chosen = {
                s for target in targets for s in repo.stage.collect(target, with_deps=True)
            } or set(graph)
            order = networkx.lexicographical_topological_sort(
                graph.reverse(), key=place.__getitem__
            )
            plan = [
                [
                    s.addressing,
                    (s.meta or {}).get("prefect") or {},
                    {out.def_path: out.use_cache or out.persist for out in s.outs},
                ]
                for s in order
                if s in chosen and isinstance(s, PipelineStage)
            ]
    except DvcException as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    print(json.dumps(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
