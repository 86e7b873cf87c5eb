"""What a stage reads, as DVC knows it: paths with the digests that dvc.lock has for them.

DVC writes the lock after each stage, so what a stage reads is in it when the stage starts. Of the
stage itself the lock has the run before this one, therefore only `outs` are looked at.
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

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time, where it is there


@dataclass(frozen=True)
class Input:
    """A path that a stage reads.

    Attributes:
        path: from the root of the repository.
        digest: md5 of its contents as DVC has it, at most 36 characters.
        stages: that wrote it.
        size, files: bytes and files in it.
    """

    path: str
    digest: str
    stages: tuple[str, ...]
    size: int
    files: int

    def source(self) -> str:
        """Where it is, as JSON."""
        return json.dumps({"path": self.path, "stages": list(self.stages)})

    def profile(self, root: Path) -> str:
        """How much it is, as JSON: bytes, files, and of pairs the pictures of each split."""
        pictures = count_pictures(root / self.path)
        rows = {"num_rows": sum(pictures.values()), "splits": pictures} if pictures else {}
        return json.dumps({**rows, "files": self.files, "bytes": self.size})


def read_lock(lock: Path) -> dict[str, dict[str, Any]]:
    """path -> what dvc.lock says of it and `stage`, for all outs; none without a lock."""
    if not lock.exists():
        return {}
    stages = (yaml.load(lock.read_text(), LOADER) or {}).get("stages", {})
    return {
        out["path"]: {**out, "stage": name}
        for name, stage in stages.items()
        for out in stage.get("outs", ())
        if "md5" in out
    }


def find_inputs(root: Path, paths: Iterable[str]) -> list[Input]:
    """Those of `paths` whose contents the lock knows: an out, or a folder whose files are outs."""
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
    """split -> pictures of a folder of pairs; nothing where it is none."""
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
    """Log what a run reads as MLflow's data sets; the same again is once.

    Args:
        client: of the store.
        run: id of the run.
        inputs: what it reads.
        root: of the repository, to count pairs.
        context: what it reads them for.
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
