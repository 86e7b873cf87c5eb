"""DVC alone is killed, its stage in mid-work; the next `dvc repro` at once. (All moments of all
stages: tests/soak.)
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from captionseg.datasets.shards import write_shards
from captionseg.sources.shapes import Shapes
from tests.soak import checkout

SMALL = {"train": 200, "tune": 10, "test": 10, "size": 64}


@pytest.mark.skipif(not shutil.which("git"), reason="DVC works in a repository of git")
def test_a_stage_ends_with_its_dvc_and_the_next_run_loses_nothing(tmp_path: Path) -> None:
    """Once before the stage has begun to work, once in the middle of its shards."""
    root = checkout.make(
        tmp_path / "checkout", settings={"download": {"shapes": SMALL, "shard_size": 5}}
    )
    orphans = []
    for begun in (
        lambda dvc: len(checkout.tree(dvc)) > 1,
        lambda dvc: len(list(root.glob(".work/download/*/pairs/*_stats.json"))) > 2,
    ):
        dvc = checkout.start(root, "repro", "download")
        assert checkout.wait_for(lambda: begun(dvc), seconds=60), (root / ".work.log").read_text()  # noqa: B023
        orphans += [process for process in checkout.tree(dvc) if process.pid != dvc.pid]
        dvc.kill()
        dvc.wait()
    checkout.reproduce(root, "download")
    assert checkout.wait_for(lambda: not any(map(checkout.alive, orphans)), seconds=10)
    assert not (root / "data" / "pairs" / "00044.tar").exists()
    write_shards(
        Shapes(**SMALL), tmp_path / "pairs", tmp_path / "truth", shard_size=5, min_success=0, seed=0
    )
    for folder in ("pairs", "truth"):
        ours, whole = root / "data" / folder, tmp_path / folder
        assert {p.name: p.read_bytes() for p in ours.iterdir()} == {
            p.name: p.read_bytes() for p in whole.iterdir()
        }
