"""Own pictures by the class of their largest object."""

from __future__ import annotations

import numpy as np
import pytest

from captionseg.benchmarks.largest_object import LargestObject, find_largest, list_objects
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import write_own
from tests.captionseg.conftest import COLOURS, OBJECTS, SIZE


def test_stuff_and_ignored_pixels_do_not_count_and_the_first_of_equal_areas_wins():
    kinds = ("object", "stuff", "object", "object")
    assert list_objects(kinds, 4) == [0, 2, 3]
    assert list_objects((), 3) == [0, 1, 2]
    mask = np.array([[1, 1, 1, 255, 255, 255], [3, 3, 2, 2, 0, 1]], np.uint8)
    assert find_largest(mask, [0, 2, 3]) == 1  # 0 has one pixel, 2 and 3 have two
    assert find_largest(mask, [0]) == 0
    assert find_largest(np.full((2, 2), 1, np.uint8), [0, 2, 3]) is None


def test_each_picture_has_the_object_whose_colour_it_shows(tmp_path, world):
    """The left half of a picture is an object, the right half stuff."""
    found, total = LargestObject().open(write_own(tmp_path, world))
    assert (total, found.names) == (8, tuple(OBJECTS))
    assert [item.label for item in found.items] == [0, 1, 2, 0, 1, 2, 0, 1]
    for item in found.items:
        colour = found.read(item)[:, : SIZE // 2].mean((0, 1))
        near = {name: np.abs(colour - value).sum() for name, value in COLOURS.items()}
        assert min(near, key=near.__getitem__) == found.names[item.label]


def test_pictures_without_an_object_are_a_mistake(tmp_path, world, monkeypatch):
    monkeypatch.setattr("captionseg.benchmarks.largest_object.list_objects", lambda *_: [200])
    with pytest.raises(UserError, match="no picture of split 'test' shows an object"):
        LargestObject().open(write_own(tmp_path, world))
