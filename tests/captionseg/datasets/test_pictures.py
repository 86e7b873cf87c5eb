"""Pictures of shards by row."""

import numpy as np
import pytest

from captionseg.datasets.pictures import Pictures
from captionseg.datasets.shards import read_images
from captionseg.records import UserError


def test_any_row_in_any_order(world):
    pictures = Pictures.of_index(world.pairs, world.index)
    assert len(pictures) == len(world.table)
    expected = [image for shard in ("00000", "00001", "00002", "00003") for _, image in read_images(world.pairs, shard)]
    for row in np.random.default_rng(0).permutation(len(expected))[:20]:
        np.testing.assert_array_equal(pictures[row], expected[row])


def test_only_the_shards_that_are_asked_for_are_opened(world):
    pictures = Pictures.of_index(world.pairs, world.index)
    _ = pictures[0]
    opened = pictures.offset >= 0
    assert opened.sum() == (pictures.shard == pictures.shard[0]).sum()


def test_what_is_not_there_is_one_line(world, tmp_path):
    with pytest.raises(UserError, match=r"0000x.tar: cannot be read .*; delete 0000x_stats.json and download again"):
        _ = Pictures(tmp_path, ["0000x"], ["1"])[0]
    with pytest.raises(UserError, match=r"nobody\.jpg is missing"):
        _ = Pictures(world.pairs, ["00000"], ["nobody"])[0]


def test_a_picture_that_does_not_decode_is_one_line(world):
    pictures = Pictures.of_index(world.pairs, world.index)
    _ = pictures[0]
    pictures.size[0] = 20  # as if the tar had been cut off and written over
    with pytest.raises(UserError, match=r"00000.tar: .*jpg does not decode"):
        _ = pictures[0]
