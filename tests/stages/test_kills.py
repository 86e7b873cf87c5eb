"""DVC alone is killed, its stage in mid-work; the next `dvc repro` at once. (All moments of all
stages: tests/soak.)
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from pathlib import Path

import pytest
import yaml

from captionseg.datasets.download import write_shards
from captionseg.sources.shapes import Shapes
from captionseg.sources.urls import Urls
from tests.captionseg.sources.fetching.hostile import serving
from tests.captionseg.sources.test_urls import QUICK
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
        assert checkout.wait_for(lambda: begun(dvc), seconds=240), (root / ".work.log").read_text()  # noqa: B023
        orphans += [process for process in checkout.tree(dvc) if process.pid != dvc.pid]
        dvc.kill()
        dvc.wait()
    checkout.reproduce(root, "download")
    assert checkout.wait_for(lambda: not any(map(checkout.alive, orphans)), seconds=60)
    assert not (root / "data" / "pairs" / "00044.tar").exists()
    write_shards(
        Shapes(**SMALL), tmp_path / "pairs", tmp_path / "truth", shard_size=5, min_success=0, seed=0
    )
    for folder in ("pairs", "truth"):
        ours, whole = root / "data" / folder, tmp_path / folder
        assert {p.name: p.read_bytes() for p in ours.iterdir()} == {
            p.name: p.read_bytes() for p in whole.iterdir()
        }


@pytest.mark.skipif(not shutil.which("git"), reason="DVC works in a repository of git")
def test_a_download_of_urls_is_killed_and_goes_on_and_failed_rows_are_asked_for_again(
    tmp_path: Path,
) -> None:
    """Everything is killed at once, in the middle; what is finished is not asked for again."""
    odd = ["/stalled.jpg", "/truncated.jpg", "/mended.jpg", "/page.jpg", "/to-neighbour.jpg"]
    with serving(pause=0.05) as server:
        paths = [f"/good/{number}.jpg" for number in range(60)]
        paths[3::12] = odd
        listing = tmp_path / "list.tsv"
        listing.write_text("".join(f"picture {n}\t{server.url(p)}\n" for n, p in enumerate(paths)))
        http = dataclasses.replace(QUICK, connections=2)
        urls = {"path": str(listing), "tune": 0.0, "test": 0.0}
        given = {**urls, "http": {k: _plain(v) for k, v in dataclasses.asdict(http).items()}}
        root = checkout.make(
            tmp_path / "checkout",
            settings={"download": {"source": "urls", "urls": given, "shard_size": 5}},
        )
        dvc = checkout.start(root, "repro", "download")
        assert checkout.wait_for(
            lambda: len(list(root.glob(".work/download/*/pairs/*_stats.json"))) > 2, seconds=240
        ), (root / ".work.log").read_text()
        for process in checkout.tree(dvc):
            os.kill(process.pid, signal.SIGKILL)
        dvc.wait()
        finished = len(list(root.glob(".work/download/*/pairs/*_stats.json")))
        asked = set(server.asked)
        assert finished < 12
        checkout.reproduce(root, "download")
        twice = sum(count > 1 for count in server.asked.values())
        assert twice <= len(asked) - 5 * finished + len(odd)
        assert _files(root / "data") == _files(_write(Urls(**urls, http=http), tmp_path / "first"))

        server.repaired, before = True, dict(server.asked)
        params = yaml.safe_load((root / "params.yaml").read_text())
        params["download"]["retry"] = "failed"
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        checkout.reproduce(root, "download")
        again = {path for path, count in server.asked.items() if count > before[path]}
        assert again == set(odd)
        assert _files(root / "data") == _files(_write(Urls(**urls, http=http), tmp_path / "second"))


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _write(source: Urls, folder: Path) -> Path:
    write_shards(source, folder / "pairs", folder / "truth", shard_size=5, min_success=0.5, seed=0)
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    return {
        f"{name}/{path.name}": path.read_bytes()
        for name in ("pairs", "truth")
        for path in (folder / name).iterdir()
    }
