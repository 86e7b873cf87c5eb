"""img2dataset's layout: what is written, and what a killed run leaves."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from captionseg.datasets.download import plan_shards, write_shards
from captionseg.datasets.pair_tables import list_shards, read_classes, read_pairs, read_truth
from captionseg.datasets.shard_images import read_images
from captionseg.datasets.truth_masks import decode_mask, encode_mask
from captionseg.records import PAIRS, UserError, make_uid
from captionseg.runtime.params import RuntimeParams
from captionseg.sources.composed import scene_assets
from captionseg.sources.photo_scenes import PhotoScenes
from captionseg.sources.reasons import FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE
from captionseg.sources.shapes import Shapes
from captionseg.sources.source import Sample


def write(
    source,
    folder: Path,
    *,
    shard_size: int = 3,
    min_success: float = 0.0,
    seed: int = 0,
    workers: int = 1,
):
    return write_shards(
        source,
        folder / "pairs",
        folder / "truth",
        shard_size=shard_size,
        min_success=min_success,
        seed=seed,
        runtime=RuntimeParams(workers=workers),
    )


# ------------------------------------------------------------------------------------------------
# what is written


def test_plan_keeps_splits_apart() -> None:
    assert plan_shards({"train": 5, "tune": 0, "test": 2}, 2) == [
        (0, "train", range(0, 2)),
        (1, "train", range(2, 4)),
        (2, "train", range(4, 5)),
        (3, "test", range(2)),
    ]


def test_layout(given, picture, tmp_path: Path) -> None:
    missing = Sample("u/9", "gone", "train", status=FAILED_TO_DOWNLOAD, error="HTTP 404")
    mask = np.zeros((30, 40), np.uint8)
    source = given(
        picture(0, mask=mask, concepts=("thing",)),
        missing,
        picture(2),
        picture(3),
        picture(4, "test"),
    )
    assert write(source, tmp_path) == {"pairs": 4.0, "download_success": 0.8}
    pairs = tmp_path / "pairs"
    assert sorted(p.name for p in pairs.iterdir()) == sorted(
        f"{n:05d}{end}" for n in range(3) for end in (".tar", ".parquet", "_stats.json")
    )
    with tarfile.open(pairs / "00000.tar") as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == [
            f"{key}.{end}" for key in ("000000000", "000000002") for end in ("jpg", "txt", "json")
        ]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
        assert tar.extractfile("000000000.jpg").read() == source.given[0].jpeg
        assert tar.extractfile("000000002.txt").read() == b"caption 2"
        assert json.load(tar.extractfile("000000002.json"))["uid"] == make_uid("u/2", "caption 2")
    rows = pq.read_table(pairs / "00000.parquet").to_pylist()
    assert [r["key"] for r in rows] == ["000000000", "000000001", "000000002"]
    assert rows[0]["sha256"] == hashlib.sha256(source.given[0].jpeg).hexdigest()
    assert (rows[1]["status"], rows[1]["error_message"]) == (FAILED_TO_DOWNLOAD, "HTTP 404")
    assert (rows[1]["sha256"], rows[1]["width"], rows[1]["height"]) == (None, None, None)
    stats = json.loads((pairs / "00000_stats.json").read_text())
    assert (
        stats["count"],
        stats["successes"],
        stats["failed_to_download"],
        stats["failed_to_resize"],
    ) == (3, 2, 1, 0)
    assert stats["status_dict"] == {"success": 2, FAILED_TO_DOWNLOAD: 1}
    assert not set(stats) & {"duration", "start_time", "end_time"}, (
        "they would make equal downloads differ"
    )
    truth = read_truth(tmp_path / "truth").to_pylist()
    assert [(r["uid"], r["concepts"]) for r in truth] == [(rows[0]["uid"], ["thing"])]


def test_success_rows_only(given, picture, tmp_path: Path) -> None:
    bad = Sample("u/9", "small", "train", status=FAILED_TO_RESIZE, error="too small")
    write(given(picture(0), bad, picture(2), picture(3), picture(4, "tune")), tmp_path)
    pairs = read_pairs(tmp_path / "pairs")
    assert pairs.column_names == [*PAIRS.names, "shard"]
    assert pairs["url"].to_pylist() == ["u/0", "u/2", "u/3", "u/4"]
    assert pairs["shard"].to_pylist() == ["00000", "00000", "00001", "00002"]
    images = dict(read_images(tmp_path / "pairs", "00000"))
    assert list(images) == pairs["uid"].to_pylist()[:2]
    assert all(image.shape == (30, 40, 3) and image.dtype == np.uint8 for image in images.values())


def test_a_shard_without_any_success(given, picture, tmp_path: Path) -> None:
    bad = [Sample(f"u/{i}", "c", "train", status=FAILED_TO_DOWNLOAD, error="404") for i in range(3)]
    write(given(*bad, picture(4, "tune")), tmp_path)
    assert list(read_images(tmp_path / "pairs", "00000")) == []
    assert read_pairs(tmp_path / "pairs")["shard"].to_pylist() == ["00001"]


def test_masks_keep_every_label() -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    assert (decode_mask(encode_mask(mask)) == mask).all()
    assert decode_mask(encode_mask(mask)).dtype == np.uint8


def test_licences_lie_beside_the_pairs(given, picture, tmp_path: Path) -> None:
    source = given(picture(0))
    source.licences = lambda: "path,licence\nx,GPL-2\n"
    write(source, tmp_path)
    assert (tmp_path / "pairs" / "licences.csv").read_text() == "path,licence\nx,GPL-2\n"


# ------------------------------------------------------------------------------------------------
# errors of the user's


def test_too_few_successes_say_why(given, picture, tmp_path: Path) -> None:
    bad = [
        Sample(f"u/{i}", "c", "train", status=FAILED_TO_DOWNLOAD, error="HTTP 404")
        for i in range(3)
    ]
    bad.append(Sample("u/x", "c", "train", status=FAILED_TO_RESIZE, error="too small"))
    with pytest.raises(UserError) as caught:
        write(given(picture(9), *bad), tmp_path, min_success=0.5)
    for part in (
        "1 of 5 rows",
        "min_success = 0.5",
        "3 x failed_to_download: HTTP 404",
        "1 x failed_to_resize: too small",
    ):
        assert part in str(caught.value)
    assert str(caught.value).index("3 x") < str(caught.value).index("1 x failed"), (
        "the most frequent one first"
    )
    assert write(given(picture(9), *bad), tmp_path, min_success=0.2)["download_success"] == 0.2


def test_no_success_at_all_is_never_enough(given, tmp_path: Path) -> None:
    bad = Sample("u", "c", "train", status=FAILED_TO_DOWNLOAD, error="HTTP 404")
    with pytest.raises(UserError, match="0 of 1 rows"):
        write(given(bad), tmp_path, min_success=0.0)


def test_a_source_without_rows(given, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows"):
        write(given(), tmp_path)


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished shard"):
        list_shards(tmp_path)
    assert len(read_truth(tmp_path)) == 0
    with pytest.raises(UserError, match=r"classes\.json"):
        read_classes(tmp_path)
    (tmp_path / "classes.json").write_text("{}")
    with pytest.raises(UserError, match=r"classes\.json"):
        read_classes(tmp_path)


@pytest.mark.parametrize("end", [".tar", ".parquet", "_stats.json"])
def test_a_shard_that_lacks_a_file_or_has_it_in_other_letters_is_not_left_out(
    given, picture, end: str, tmp_path: Path
) -> None:
    write(given(*(picture(i) for i in range(9))), tmp_path)
    pairs = tmp_path / "pairs"
    assert list_shards(pairs) == ["00000", "00001", "00002"]
    path, odd = pairs / f"00001{end}", pairs / f"00001{end.upper()}"
    path.rename(odd)
    for read in (list_shards, read_pairs):
        with pytest.raises(
            UserError, match=rf"00001{end.upper()}: its name should end in {end}, in small letters"
        ):
            read(pairs)
    odd.unlink()
    with pytest.raises(
        UserError, match=rf"00001{end}: no such file, but others of the shard are there; run"
    ):
        read_pairs(pairs)
    for rest in pairs.glob("00001*"):
        rest.unlink()
    with pytest.raises(UserError, match="shard 00001 is missing before 00002"):
        read_pairs(pairs)


# ------------------------------------------------------------------------------------------------
# runs that go on


SMALL = Shapes(train=5, tune=2, test=2, size=32)


def test_a_process_that_is_killed_goes_on(tmp_path: Path) -> None:
    """Killed for real, in the middle of the third shard: the next run keeps two shards and writes
    the same bytes.
    """
    script = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        from captionseg.datasets import download, shard_writer
        from captionseg.sources.shapes import Shapes
        add_member = shard_writer.add_member
        def add_or_die(tar, name, data):
            if name.startswith("00002"):
                os.kill(os.getpid(), signal.SIGKILL)
            add_member(tar, name, data)
        shard_writer.add_member = add_or_die
        download.write_shards({SMALL!r}, Path("pairs"), Path("truth"),
                            shard_size=3, min_success=0, seed=0)
    """)
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    pairs = tmp_path / "pairs"
    assert list_shards(pairs) == ["00000", "00001"]
    assert list(pairs.glob(".*.part")), "it was killed while it wrote"
    kept = {p.name: p.stat().st_ino for p in pairs.glob("0000[01]*")}
    write(SMALL, tmp_path)
    write(SMALL, tmp_path / "fresh")
    assert {p.name: p.stat().st_ino for p in pairs.glob("0000[01]*")} == kept
    for folder in ("pairs", "truth"):
        ours, fresh = tmp_path / folder, tmp_path / "fresh" / folder
        assert {p.name: p.read_bytes() for p in ours.iterdir()} == {
            p.name: p.read_bytes() for p in fresh.iterdir()
        }


@pytest.mark.parametrize("change", ["seed", "shard_size", "source"])
def test_shards_of_other_rows_are_not_kept(change: str, tmp_path: Path) -> None:
    other = {"seed": {"seed": 1}, "shard_size": {"shard_size": 2}, "source": {}}[change]
    write(SMALL, tmp_path, **other) if other else write(
        Shapes(train=9, tune=2, test=2, size=32), tmp_path
    )
    (tmp_path / "pairs" / "notes.txt").write_text("not ours")
    write(SMALL, tmp_path)
    write(SMALL, tmp_path / "fresh")
    (tmp_path / "pairs" / "notes.txt").unlink()
    for folder in ("pairs", "truth"):
        ours, fresh = tmp_path / folder, tmp_path / "fresh" / folder
        assert {p.name: p.read_bytes() for p in ours.iterdir()} == {
            p.name: p.read_bytes() for p in fresh.iterdir()
        }


@pytest.mark.parametrize("stats", ["", "[]", "{}", '{"source": 3}'])
def test_stats_that_cannot_be_trusted(stats: str, tmp_path: Path) -> None:
    write(SMALL, tmp_path)
    path = tmp_path / "pairs" / "00000_stats.json"
    before = path.read_bytes()
    path.write_text(stats)
    write(SMALL, tmp_path)
    assert path.read_bytes() == before


def test_an_error_in_a_worker_reaches_the_user(
    tmp_path: Path, toy_scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers do not see the painted assets, and find no apt-get either."""
    assert scene_assets.fetch() is toy_scenes
    monkeypatch.setenv("CAPTIONSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no apt-get"):
        write(PhotoScenes(train=9, tune=2, test=2, size=64), tmp_path, workers=2)
    assert not list((tmp_path / "pairs").glob("*_stats.json"))
