"""The battery of every source: what stages rely on, whichever one is chosen."""

import json
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_classes, read_pairs, read_truth
from captionseg.datasets.shard_images import read_images
from captionseg.datasets.shard_writer import IN_TAR
from captionseg.datasets.truth_masks import decode_mask
from captionseg.records import PAIRS, TRUTH, UserError, make_uid
from captionseg.runtime.params import RuntimeParams
from captionseg.sources.composed import debian_packages, scene_assets
from captionseg.sources.listing import ListedSource
from captionseg.sources.reasons import FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE, REASONS, find_status
from captionseg.sources.source import SPLITS
from captionseg.sources.sources import SOURCES, DownloadParams
from captionseg.typed import build

pytestmark = pytest.mark.parametrize("name", SOURCES)


def write(source, folder: Path, *, seed: int = 0, workers: int = 1) -> dict[str, float]:
    return write_shards(
        source,
        folder / "pairs",
        folder / "truth",
        shard_size=3,
        min_success=0.1,
        seed=seed,
        runtime=RuntimeParams(workers=workers),
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_is_chosen_by_its_name(name, make_source) -> None:
    params = build(DownloadParams, {"source": name}, "download")
    assert isinstance(params.get_source(), SOURCES[name])


def test_samples(name, make_source) -> None:
    source = make_source(name)
    source.prepare()
    assert tuple(source.splits()) == SPLITS
    classes = source.classes()
    assert len(classes.names) == len(set(classes.names)) == len(classes.kinds)
    for split, count in source.splits().items():
        for sample in source.samples(split, range(count), seed=0):
            assert sample.split == split
            assert (
                (sample.status == "success") == (sample.jpeg is not None) == (sample.error is None)
            )
            assert sample.status in ("success", FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE)
            if sample.status != "success":
                assert sample.reason in REASONS
                assert sample.status == find_status(sample.reason)
            assert "\n" not in (sample.error or "") + sample.caption
            assert set(sample.concepts) <= set(classes.names)
            if sample.status == "success":
                assert sample.caption
            if sample.mask is not None:
                assert sample.mask.shape == (sample.height, sample.width)
                assert set(np.unique(sample.mask)) <= {*range(len(classes.names)), 255}


def test_a_row_depends_on_its_number_alone(name, make_source) -> None:
    source = make_source(name)
    source.prepare()
    together = source.samples("train", range(3), seed=7)
    alone = [make_source(name).samples("train", [number], seed=7)[0] for number in (2, 0, 1)]
    assert [s.jpeg for s in together] == [alone[1].jpeg, alone[2].jpeg, alone[0].jpeg]
    assert [s.caption for s in together] == [alone[1].caption, alone[2].caption, alone[0].caption]
    assert len({s.url for s in together}) == 3


def test_survives_the_way_to_another_process(name, make_source) -> None:
    source = make_source(name)
    source.prepare()
    other = pickle.loads(pickle.dumps(source))
    assert repr(other) == repr(source)
    assert [s.jpeg for s in other.samples("test", [0, 1], seed=0)] == [
        s.jpeg for s in source.samples("test", [0, 1], seed=0)
    ]


def test_shards_follow_the_schemas(name, make_source, tmp_path: Path) -> None:
    source = make_source(name)
    metrics = write(source, tmp_path)
    tables = [pq.read_table(p) for p in sorted((tmp_path / "pairs").glob("*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    assert all(table.schema.equals(PAIRS) for table in tables)
    assert all(pq.read_schema(p).equals(TRUTH) for p in (tmp_path / "truth").glob("*.parquet"))
    assert len(rows) == sum(source.splits().values())
    assert len({row["uid"] for row in rows}) == len({row["key"] for row in rows}) == len(rows)
    assert all(row["uid"] == make_uid(row["url"], row["caption"]) for row in rows)
    good = [row for row in rows if row["status"] == "success"]
    assert metrics == {"pairs": len(good), "download_success": len(good) / len(rows)}
    for table in tables:
        assert len(set(table["split"].to_pylist())) == 1
    for stats in (tmp_path / "pairs").glob("*_stats.json"):
        counts = json.loads(stats.read_text())
        total = counts["successes"] + counts["failed_to_download"] + counts["failed_to_resize"]
        assert counts["count"] == total == sum(counts["status_dict"].values())


def test_what_is_read_is_what_was_made(name, make_source, tmp_path: Path) -> None:
    source = make_source(name)
    write(source, tmp_path)
    pairs = read_pairs(tmp_path / "pairs")
    truth = {row["uid"]: row for row in read_truth(tmp_path / "truth").to_pylist()}
    assert read_classes(tmp_path / "truth") == source.classes()
    samples = [
        s
        for split, count in source.splits().items()
        for s in source.samples(split, range(count), seed=0)
        if s.jpeg
    ]
    images = {
        uid: im
        for shard in dict.fromkeys(pairs["shard"].to_pylist())
        for uid, im in read_images(tmp_path / "pairs", shard)
    }
    assert list(images) == pairs["uid"].to_pylist()
    for sample, row in zip(samples, pairs.to_pylist(), strict=True):
        assert (sample.url, sample.caption, sample.split) == (
            row["url"],
            row["caption"],
            row["split"],
        )
        assert (
            images[row["uid"]].shape
            == (row["height"], row["width"], 3)
            == (sample.height, sample.width, 3)
        )
        if sample.mask is not None:
            assert (decode_mask(truth[row["uid"]]["mask"]) == sample.mask).all()
            assert truth[row["uid"]]["concepts"] == list(sample.concepts)
    assert len(truth) == sum(s.mask is not None for s in samples)


def test_truth_is_kept_out_of_the_pairs(name, make_source, tmp_path: Path) -> None:
    write(make_source(name), tmp_path)
    for path in (tmp_path / "pairs").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    meta = json.load(tar.extractfile(member))
                    assert set(meta) == set(IN_TAR)


def test_twice_the_same_bytes(name, make_source, tmp_path: Path) -> None:
    write(make_source(name), tmp_path / "a")
    write(make_source(name), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_killed_run_goes_on(name, make_source, tmp_path: Path) -> None:
    write(make_source(name), tmp_path)
    before, pairs = files(tmp_path), tmp_path / "pairs"
    (pairs / "00001_stats.json").unlink()
    (pairs / "00001.tar").write_bytes(b"half a tar")
    (pairs / ".00001.tar.99.part").write_bytes(b"what the killed process was writing")
    (tmp_path / "truth" / ".00001.parquet.99.part").write_bytes(b"so")
    inodes = {p.name: p.stat().st_ino for p in pairs.glob("00000*")}
    assert len(inodes) == 3
    write(make_source(name), tmp_path)
    assert files(tmp_path) == before
    assert {p.name: p.stat().st_ino for p in pairs.glob("00000*")} == inodes


def test_two_processes_write_what_one_writes(name, make_source, tmp_path: Path) -> None:
    if name == "photo_scenes":  # the painted assets do not reach another process
        packages = debian_packages.cache_folder() / "debian"
        if not all((packages / name).is_dir() for name in scene_assets.list_packages()):
            pytest.skip("the Debian packages are not in the user's cache, and tests fetch nothing")
        source = SOURCES[name](train=5, tune=2, test=2, size=64)
    else:
        source = make_source(name)
    write(source, tmp_path / "one")
    write(pickle.loads(pickle.dumps(source)), tmp_path / "two", workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_wrong_setting_is_one_line(name, make_source) -> None:
    wrong = {
        "photo_scenes": {"size": 0},
        "shapes": {"second_named": 2.0},
        "folder": {"tune": 0.9, "test": 0.2},
        "table": {"max_side": 3},
        "coco_captions": {"captions": "all"},
        "shards": {"caption_lines": "both"},
        "urls": {"http": {"connections": 0}},
    }
    with pytest.raises(UserError, match=rf"^download\.{name}[.:]") as caught:
        build(DownloadParams, {"source": name, name: wrong[name]}, "download")
    assert "\n" not in str(caught.value)


def test_a_listed_source_says_everything_that_its_samples_depend_on(name, make_source) -> None:
    """A resumed run goes on from a shard only if the repr is the same."""
    source = make_source(name)
    if not isinstance(source, ListedSource):
        pytest.skip("makes its pictures")
    source.prepare()
    seen = {repr(source)}
    for change in ({"tune": 0.1}, {"test": 0.1}, {"max_side": 20}, {"captions": "each"}):
        other = replace(make_source(name), **change)
        other.prepare()
        seen.add(repr(other))
    assert len(seen) == 5


def test_a_listed_source_loses_no_row(name, make_source) -> None:
    """Of 22 pictures each has a row, and what cannot be used has a reason of the closed list."""
    source = make_source(name)
    if not isinstance(source, ListedSource):
        pytest.skip("makes its pictures")
    source.prepare()
    counts = source.splits()
    rows = [s for split, n in counts.items() for s in source.samples(split, range(n), seed=0)]
    assert len(rows) == len({row.url for row in rows}) == 22
    assert all(row.source_row for row in rows)
    failed = {row.reason for row in rows if row.status != "success"}
    assert failed <= REASONS.keys()
    assert len(failed) == 2
    assert sum(row.status == "success" for row in rows) == 20
