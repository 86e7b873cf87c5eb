"""Regions of a whole corpus: what lies where, that finished shards are kept, and that processes change nothing."""

from pathlib import Path

import numpy as np
import pytest

from captionseg.datasets.shards import read_images
from captionseg.records import UserError, read_arrays
from captionseg.regioning import write_regions
from captionseg.segmenters import Felzenszwalb
from captionseg.segmenters.pooling import GEOMETRY, pool_regions

MAKER = Felzenszwalb(side=32, min_size=20, max_regions=8)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.npy"))}


def test_files_of_every_shard_in_the_order_of_its_pairs(squares: Path, features: Path) -> None:
    out = squares / "regions"
    found = write_regions(squares / "pairs", features, out, maker=MAKER, workers=1)
    labels, pooled, count = (read_arrays(out / name) for name in ("labels", "pooled", "count"))
    assert (labels.shape, labels.dtype) == ((8, 32, 32), np.uint8)
    assert (pooled.shape, pooled.dtype) == ((8, 8, 3 + GEOMETRY), np.float16)
    assert (count.shape, count.dtype) == ((8,), np.uint8)
    assert found == {"images": 8.0, "per_image": pytest.approx(count.mean())}
    assert np.array_equal(labels.max(axis=(1, 2)) + 1, count)
    (_, image), row = list(read_images(squares / "pairs", "00001"))[1], 5
    assert np.array_equal(labels[row], MAKER.regions(image))
    dense = np.load(features / "dense" / "dense_00001.npy")[1]
    assert pooled[row, : count[row]] == pytest.approx(pool_regions(dense, labels[row], count[row]), abs=1e-3)
    assert not pooled[row, count[row] :].any()


def test_a_killed_run_keeps_its_finished_shards_and_ends_the_same(squares: Path, features: Path) -> None:
    whole, out = squares / "whole", squares / "regions"
    write_regions(squares / "pairs", features, whole, maker=MAKER, workers=2)
    write_regions(squares / "pairs", features, out, maker=MAKER, workers=1)
    assert contents(out) == contents(whole)
    (out / "count" / "count_00001.npy").unlink()  # as if killed before the shard's last file
    kept = (out / "labels" / "labels_00000.npy").stat().st_mtime_ns
    write_regions(squares / "pairs", features, out, maker=MAKER, workers=1)
    assert contents(out) == contents(whole)
    assert (out / "labels" / "labels_00000.npy").stat().st_mtime_ns == kept


@pytest.mark.parametrize("rows", [3, 5])
def test_features_of_other_pairs_are_refused(squares: Path, features: Path, rows: int) -> None:
    np.save(features / "dense" / "dense_00000.npy", np.zeros((rows, 8, 8, 3), np.float16))
    with pytest.raises(UserError, match=r"dense_00000.npy: \d rows, but shard 00000"):
        write_regions(squares / "pairs", features, squares / "regions", maker=MAKER, workers=1)


def test_missing_features_say_which_stage_makes_them(squares: Path, features: Path) -> None:
    (features / "dense" / "dense_00001.npy").unlink()
    with pytest.raises(UserError, match="run the stage index"):
        write_regions(squares / "pairs", features, squares / "regions", maker=MAKER, workers=1)
