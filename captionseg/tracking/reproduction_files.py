"""Reads the results of a reproduction from its files, whichever of its stages ran.

DVC skips `report` if its inputs and reports match dvc.lock, as in a fresh clone, and restores
stages from its run-cache. So the results are read from dvc.lock, which names the files and the
commands that wrote them, and from the files themselves.

    python -m captionseg.tracking.reproduction_files ROOT [STAGE ...]   # list stale stages
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from captionseg.storage.nested import flatten
from captionseg.tracking.logged_datasets import LOADER
from captionseg.tracking.recipe_labels import read_labels
from captionseg.tracking.recipe_runs import RecipeReport, hash_state

REPORT, COMPARE = "report", "compare"  # the stages that speak for the whole reproduction
FILES = {
    REPORT: ("metrics", "plots", "pictures", "page", "data"),
    COMPARE: ("markdown", "page", "charts"),
}
PATIENCE = 300.0  # seconds that DVC may take to look at the files


@dataclass(frozen=True)
class ReproductionFiles:
    """The results of a finished reproduction.

    Attributes:
        report: results of its recipes.
        files: the existing report files.
        params: the whole of params.yaml, with dotted names.
        models: recipe -> md5 of models/RECIPE in dvc.lock.
    """

    report: RecipeReport
    files: tuple[Path, ...]
    params: Mapping[str, Any]
    models: Mapping[str, str]

    @property
    def state(self) -> str:
        """Hash of the results; equal results have equal hashes."""
        return hash_state(self.report, self.params, self.models)


def read(root: Path) -> ReproductionFiles | None:
    """Read the results in a repository; None if the reports or their inputs are missing, or the
    reports differ from dvc.lock.
    """
    lock = _yaml(root / "dvc.lock").get("stages", {})
    if REPORT not in lock or not all(
        (root / dep["path"]).exists() for dep in lock[REPORT].get("deps", ())
    ):
        return None
    of_report = parse_options(lock[REPORT]["cmd"])
    if not {"metrics", "models", "areas", "pairs", "pictures"} <= set(of_report):
        return None  # not our stage
    metrics = root / of_report["metrics"]
    recorded = {
        out["path"]: out.get("md5") for entry in lock.values() for out in entry.get("outs", ())
    }
    if not metrics.is_file() or hashlib.md5(
        text := metrics.read_bytes()
    ).hexdigest() != recorded.get(of_report["metrics"]):
        return None
    params = _yaml(root / "params.yaml")
    labels = {name: read_labels(params, name) for name in params.get("recipes") or {}}
    folders = {key: str(root / of_report[key]) for key in ("models", "areas", "pairs", "pictures")}
    benchmark = next(iter(labels.values()), {}).get("benchmark", "")
    report = RecipeReport(numbers=json.loads(text), labels=labels, benchmark=benchmark, **folders)
    models = {
        name: (recorded.get(f"{of_report['models']}/{name}") or "").removesuffix(".dir")
        for name in labels
    }
    return ReproductionFiles(report, tuple(find_files(root, lock)), flatten(params), models)


def find_files(root: Path, lock: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files of FILES that stages of dvc.lock wrote and that exist."""
    for stage, keys in FILES.items():
        options = parse_options(lock[stage]["cmd"]) if stage in lock else {}
        paths = [root / options[key] for key in keys if key in options]
        yield from (path for path in paths if path.exists())


def parse_options(command: str) -> dict[str, str]:
    """Parse the options of a stage's command: {"pairs": "data/pairs", ...}."""
    words = shlex.split(command)
    return {word[2:]: value for word, value in itertools.pairwise(words) if word.startswith("--")}


def list_stale_stages(root: Path, stages: Iterable[str] = ()) -> list[str]:
    """Return the stages (default: of all) that DVC would run again.

    Runs in a separate process, because DVC prints warnings and changes the working directory.
    Unlike `dvc status` this works while another stage runs: nothing is locked or written.

    Raises:
        RuntimeError: DVC fails.
    """
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(root), *stages]
    environ = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise RuntimeError(
            (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        )
    return json.loads(done.stdout.splitlines()[-1])


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), LOADER) or {}
    except FileNotFoundError:
        return {}


def main(root: str, *names: str) -> int:
    """Print the stages that differ from dvc.lock, as JSON."""
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    with Repo(root) as repo:
        stages = [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]
        chosen = [stage for stage in stages if not names or stage.addressing in names]
        changed = [
            stage.addressing
            for stage in chosen
            if stage.changed_stage()
            or any(item.workspace_status() for item in (*stage.deps, *stage.outs))
        ]
    print(json.dumps(changed))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
