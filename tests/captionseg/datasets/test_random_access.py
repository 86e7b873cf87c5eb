"""Pictures of shards by row."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from captionseg.datasets.random_access import Pictures
from captionseg.datasets.shard_images import read_images
from captionseg.records import UserError


def test_any_row_in_any_order(world):
    pictures = Pictures.of_index(world.pairs, world.index)
    assert len(pictures) == len(world.table)
    expected = [
        image
        for shard in ("00000", "00001", "00002", "00003")
        for _, image in read_images(world.pairs, shard)
    ]
    for row in np.random.default_rng(0).permutation(len(expected))[:20]:
        np.testing.assert_array_equal(pictures[row], expected[row])


def test_only_the_shards_that_are_asked_for_are_opened(world):
    pictures = Pictures.of_index(world.pairs, world.index)
    _ = pictures[0]
    opened = pictures.offset >= 0
    assert opened.sum() == (pictures.shard == pictures.shard[0]).sum()


def test_what_is_not_there_is_one_line(world, tmp_path):
    with pytest.raises(
        UserError, match=r"0000x.parquet: no such file; delete 0000x_stats.json and download again"
    ):
        _ = Pictures(tmp_path, ["0000x"], ["1"])[0]
    with pytest.raises(UserError, match=r"nobody\.jpg is missing"):
        _ = Pictures(world.pairs, ["00000"], ["nobody"])[0]


def test_a_picture_that_is_another_than_was_downloaded_is_not_given_out(world):
    pictures = Pictures.of_index(world.pairs, world.index)
    _ = pictures[0]
    # as if written over: it decodes
    pictures.offset[0], pictures.size[0] = (pictures.offset[1], pictures.size[1])
    with pytest.raises(
        UserError, match=r"00000.tar: 000000000.jpg is not the image .* \(sha256 differs\)"
    ):
        _ = pictures[0]
    _ = pictures[1]


def test_pairs_that_are_not_those_of_the_index_are_refused(world):
    ids = pq.read_table(world.index / "ids.parquet")
    uids = ids["uid"].to_pylist()
    pictures = Pictures(
        world.pairs, ids["shard"].to_pylist(), ids["key"].to_pylist(), [uids[1], uids[0], *uids[2:]]
    )
    with pytest.raises(
        UserError, match=r"00000.parquet: 000000000 is not the pair that was indexed"
    ):
        _ = pictures[0]


def test_reading_ahead_changes_nothing_and_asks_for_nothing_that_is_not_there(world, tmp_path):
    pictures = Pictures.of_index(world.pairs, world.index)
    pictures.read_ahead(np.arange(len(pictures)))
    assert (pictures.offset < 0).all()
    Pictures(tmp_path, ["0000x"], ["1"]).read_ahead(np.array([0]))
