"""Overlays have a legend that can be read at any size of picture, and heat maps one scale."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from captionseg.api import drawing
from captionseg.api.segmentation import Segmentation
from captionseg.records import UserError


def make(height: int, width: int, count: int, used: int) -> Segmentation:
    mask = (np.arange(height * width) % max(1, used)).reshape(height, width).astype(np.int16)
    image = np.zeros((height, width, 3), np.uint8)
    return Segmentation(
        tuple(f"thing number {n}" for n in range(count)), mask, np.zeros(count, np.float32), image
    )


@pytest.mark.parametrize(
    ("height", "width", "count"),
    [(1, 1, 2), (40, 30, 1), (60, 80, 3), (480, 640, 5), (20, 900, 3), (900, 20, 3), (64, 64, 200)],
)
def test_no_entry_of_a_legend_is_cut_off(height, width, count, monkeypatch):
    drawn = []
    legend = drawing.draw_legend

    def watch(names, colours, whole, *, size):
        drawn.append((names, whole, size))
        return legend(names, colours, whole, size=size)

    monkeypatch.setattr(drawing, "draw_legend", watch)
    picture = make(height, width, count, min(count, 3)).overlay()
    ((names, whole, size),) = drawn
    assert size >= 13
    assert picture.width == whole >= width
    assert picture.height > height
    longest = max(drawing.load_font(size).getlength(name) for name in names)
    assert whole >= longest + 1.5 * size
    assert len(names) == count if count <= 12 else len(names) == 4
    assert names[-1] == "197 more nowhere" or count <= 12


def test_letters_grow_with_the_picture_but_the_legend_never_buries_it():
    small, large = (np.zeros((side, side, 3), np.uint8) for side in (300, 1500))
    names, colours = [f"label {n}" for n in range(100)], np.zeros((100, 3), np.uint8)
    for picture in (small, large):
        added = drawing.add_readable_legend(picture, names, colours).shape[0] - len(picture)
        assert added <= 0.5 * len(picture) or picture is small
    one = drawing.add_readable_legend(large, names[:2], colours[:2])
    assert one.shape[0] - 1500 > 2 * 26  # 42 pixels a letter
    assert drawing.make_palette(3).shape == (3, 3)


def test_of_many_labels_the_largest_come_first():
    mask = np.array([[0, 5, 5, 14, 14, 14]], np.int16)
    image = np.zeros((1, 6, 3), np.uint8)
    labels = tuple(f"n{n}" for n in range(20))
    result = Segmentation(labels, mask, np.zeros(20, np.float32), image)
    texts, shown = drawing.list_legend(result)
    assert texts == ["n14  50 %", "n5  33 %", "n0  17 %", "17 more nowhere"]
    assert shown == [14, 5, 0, 20]


def test_a_long_label_makes_no_wide_picture():
    labels = ("dog " * 5000, "grass")
    result = Segmentation(
        labels, np.zeros((5, 7), np.int16), np.zeros(2, np.float32), np.zeros((5, 7, 3), np.uint8)
    )
    texts, _ = drawing.list_legend(result)
    assert texts == ["dog " * 14 + "d...  100 %", "grass  0 %"]
    assert result.overlay().width < 800
    assert len(repr(result)) < 150
    assert result.to_coco()["categories"][0]["name"] == labels[0]


def test_without_a_legend_an_overlay_has_the_size_of_the_picture():
    result = make(7, 5, 2, 2)
    assert result.overlay(legend=False).size == (5, 7)
    plain = np.asarray(result.overlay(opacity=0, legend=False))
    assert plain.shape == (7, 5, 3)
    for opacity in (-0.1, 55, float("nan")):
        with pytest.raises(UserError, match="opacity: expected a number from 0 to 1, found"):
            result.overlay(opacity=opacity)


def test_heat_maps_are_side_by_side_on_one_scale():
    maps = np.stack([np.zeros((4, 4)), np.ones((4, 4))]).astype(np.float32)
    sheet = drawing.draw_heat(np.zeros((400, 400, 3), np.uint8), ["none", "all"], maps)
    assert isinstance(sheet, Image.Image)
    assert min(sheet.size) > 2 * drawing.PANEL  # three panels in two rows
    found = {
        sheet.getpixel((x, y)) for x in range(0, sheet.width, 9) for y in range(0, sheet.height, 9)
    }
    dark, bright = (tuple(round(0.72 * v) for v in drawing.HEAT[n]) for n in (0, -1))
    near = [min(sum(abs(a - b) for a, b in zip(c, one)) for c in found) for one in (dark, bright)]
    assert max(near) <= 3
    assert drawing.map_colours(np.array([-1.0, 0.5, 2.0])).round().tolist() == [
        [68, 1, 84],
        [33, 144, 141],
        [253, 231, 37],
    ]
