"""Features of regions end to end: the same rows as of an array that is padded."""

import numpy as np
import pytest

from captionseg.arrays import ShardedArray
from captionseg.records import UserError
from captionseg.segmenters.region_files import RegionFeatures
from captionseg.storage.writing import write_array


@pytest.fixture
def padded() -> tuple[np.ndarray, np.ndarray]:
    """[9, 4, 5] features and [9] counts."""
    rng = np.random.default_rng(0)
    count = np.array([1, 3, 2, 4, 1, 2, 4, 3, 1], np.uint8)
    array = rng.normal(size=(9, 4, 5)).astype(np.float16)
    array[np.arange(4) >= count[:, None]] = 0
    return array, count


def test_the_same_rows_as_of_a_padded_array(padded):
    array, count = padded
    ends = np.concatenate([rows[:n] for rows, n in zip(array, count, strict=True)])
    features = RegionFeatures(ShardedArray([ends[:6], ends[6:]]), count)
    assert (features.shape, len(features)) == ((9, 4, 5), 9)
    for rows in (np.arange(9), np.array([8, 0, 3, 3]), np.array([4]), np.array([], int)):
        np.testing.assert_array_equal(features[rows], array[rows])


def test_files_of_two_stages(padded, tmp_path):
    array, count = padded
    regions, features = tmp_path / "regions", tmp_path / "features"
    shards = {"a": (0, 5), "b": (5, 9)}
    for shard, (start, end) in shards.items():
        part = zip(array[start:end], count[start:end], strict=True)
        values = np.concatenate([rows[:n] for rows, n in part])
        write_array(values, features / "regions" / f"regions_{shard}.npy")
        write_array(count[start:end], regions / "count" / f"count_{shard}.npy")
    rows = {shard: end - start for shard, (start, end) in shards.items()}
    for named in (rows, None):
        found = RegionFeatures.of_folders(regions, features, named)
        np.testing.assert_array_equal(found[np.arange(9)], array)
        np.testing.assert_array_equal(found.count, count)
    write_array(values[1:], features / "regions" / "regions_b.npy")
    with pytest.raises(UserError, match=r"regions_b.npy: cannot be read \(expected 10 rows"):
        RegionFeatures.of_folders(regions, features, rows)
