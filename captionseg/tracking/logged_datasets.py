"""The inputs of a stage, with their digests from dvc.lock.

DVC updates the lock after each stage, so the inputs of a stage are in it when the stage starts. The
stage's own entry is from its previous run, so only `outs` are read.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import yaml

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, if available


@dataclass(frozen=True)
class Input:
    """A path that a stage reads.

    Attributes:
        path: path from the root of the repository.
        digest: md5 of its content, as in dvc.lock, at most 36 characters.
        stages: stages that wrote it.
        size, files: number of bytes and files.
    """

    path: str
    digest: str
    stages: tuple[str, ...]
    size: int
    files: int

    def source(self) -> str:
        """Return path and stages as JSON."""
        return json.dumps({"path": self.path, "stages": list(self.stages)})

    def profile(self, root: Path) -> str:
        """Return its size as JSON: bytes, files, and for pairs the pictures per split."""
        pictures = count_pictures(root / self.path)
        rows = {"num_rows": sum(pictures.values()), "splits": pictures} if pictures else {}
        return json.dumps({**rows, "files": self.files, "bytes": self.size})


def read_lock(lock: Path) -> dict[str, dict[str, Any]]:
    """Return path -> its entry in dvc.lock plus `stage`, for all outs; empty without a lock."""
    if not lock.exists():
        return {}
    stages = (yaml.load(lock.read_text(encoding="utf-8"), LOADER) or {}).get("stages", {})
    return {
        out["path"]: {**out, "stage": name}
        for name, stage in stages.items()
        for out in stage.get("outs", ())
        if "md5" in out
    }


def find_inputs(root: Path, paths: Iterable[str]) -> list[Input]:
    """Return the `paths` that dvc.lock has: outs, or folders that contain outs."""
    outs = read_lock(root / "dvc.lock")
    inputs = []
    for path in paths:
        at = PurePosixPath(path)
        parts = [
            out
            for name, out in outs.items()
            if name == path or (at in PurePosixPath(name).parents and (root / name).exists())
        ]
        if parts:
            inputs.append(_join(path, sorted(parts, key=lambda out: out["path"])))
    return inputs


def _join(path: str, outs: list[dict[str, Any]]) -> Input:
    text = "\n".join(f"{out['path']} {out['md5']}" for out in outs)
    digest = outs[0]["md5"] if outs[0]["path"] == path else hashlib.md5(text.encode()).hexdigest()
    return Input(
        path,
        digest,
        tuple(dict.fromkeys(out["stage"] for out in outs)),
        sum(out["size"] for out in outs),
        sum(out.get("nfiles", 1) for out in outs),
    )


def count_pictures(folder: Path) -> dict[str, int]:
    """Count the pictures per split in a folder of pairs; empty for any other folder."""
    pictures: Counter[str] = Counter()
    for file in sorted(folder.glob("*.parquet")):
        if not {"split", "status"} <= set(pq.read_schema(file).names):
            return {}
        table = pq.read_table(file, columns=["split", "status"])
        pairs = zip(table["split"].to_pylist(), table["status"].to_pylist(), strict=True)
        pictures.update(split for split, status in pairs if status == "success")
    return dict(pictures)


def write(
    client: MlflowClient, run: str, inputs: Iterable[Input], root: Path, context: str
) -> None:
    """Log the inputs of a run as MLflow data sets; repeating it changes nothing.

    Args:
        client: client of the store.
        run: id of the run.
        inputs: its inputs.
        root: root of the repository, to count pairs.
        context: what the inputs are used for.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = [
        Dataset(one.path, one.digest, "dvc", one.source(), profile=one.profile(root))
        for one in inputs
    ]
    if data:
        client.log_inputs(
            run, [DatasetInput(one, [InputTag("mlflow.data.context", context)]) for one in data]
        )
