"""The data of a checkout as a benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from captionseg.benchmarks.benchmark import spread
from captionseg.benchmarks.own_data import OwnData
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import write_own


@pytest.mark.parametrize(
    ("count", "limit", "kept"),
    [(5, 0, [0, 1, 2, 3, 4]), (5, 1, [0]), (5, 2, [0, 4]), (5, 3, [0, 2, 4]), (2, 9, [0, 1])],
)
def test_spread(count, limit, kept):
    assert spread(count, limit).tolist() == kept


def test_a_limit_takes_pictures_from_the_whole_split(tmp_path, world):
    root = write_own(tmp_path, world)
    every, total = OwnData().open(root)
    few, same = OwnData().open(root, limit=3)
    assert (len(every), total, len(few), same) == (8, 8, 3, 8)
    assert few.pictures.uid == [every.pictures.uid[n] for n in (0, 4, 7)]
    truth = [sample.truth for sample in every.samples()]
    for sample, number in zip(few.samples(), (0, 4, 7), strict=True):
        np.testing.assert_array_equal(sample.truth, truth[number])


def test_no_run_is_one_line(tmp_path, world):
    with pytest.raises(UserError, match=r"ids.parquet: does not exist; run `dvc repro` in "):
        OwnData().open(tmp_path)
    root = write_own(tmp_path, world)
    with pytest.raises(UserError, match="has no masks for split 'val'"):
        OwnData(split="val").open(root)
    (root / "data" / "regions").unlink()
    with pytest.raises(UserError, match=r"data/regions: does not exist; run"):
        OwnData().open(root)
