"""Areas on disk: what is written is read again, for the pictures that are asked for."""

from __future__ import annotations

import numpy as np

from captionseg import metrics
from captionseg.benchmarks.areas import SCHEMA, read, read_uids, write
from captionseg.storage.folders import read_tables


def test_there_and_back(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (3, 2, 2, 5, 5))  # pictures, seeds, predicted and true
    areas = np.stack([[metrics.areas(p, t, 6) for p, t in one] for one in labels])
    write(areas, ["a", "b", "c"], [10, 2], tmp_path / "one.parquet")
    write(areas[[2, 0], :1], ["c", "a"], [0], tmp_path / "two.parquet")
    one, two = read([tmp_path / "one.parquet", tmp_path / "two.parquet"], 6)
    assert read_uids([tmp_path / "two.parquet", tmp_path / "one.parquet"]) == ["c", "a", "b"]
    np.testing.assert_array_equal(one, areas[:, ::-1])  # seeds are read lowest first
    np.testing.assert_array_equal(two, areas[:, :1] * np.array([1, 0, 1])[:, None, None, None])


def test_only_classes_that_occur_are_written(tmp_path):
    areas = np.zeros((1, 1, 3, 80), np.int64)
    areas[0, 0, :, 7], areas[0, 0, 1, 9] = (3, 4, 5), 6
    write(areas, ["a"], [0], tmp_path / "r.parquet")
    assert read_tables(tmp_path).to_pylist() == [
        {"uid": "a", "seed": 0, "class": 7, "intersection": 3, "predicted": 4, "true": 5},
        {"uid": "a", "seed": 0, "class": 9, "intersection": 0, "predicted": 6, "true": 0},
    ]


def test_of_nothing(tmp_path):
    write(np.zeros((0, 2, 3, 0), np.int64), [], [0, 1], tmp_path / "r.parquet")
    assert read_tables(tmp_path).schema == SCHEMA
    assert read([tmp_path / "r.parquet"], 4)[0].shape == (0, 0, 3, 4)
