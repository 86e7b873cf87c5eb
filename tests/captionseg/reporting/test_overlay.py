"""Colours, tints, lines and legends."""

import numpy as np
import pytest
from PIL import Image

from captionseg.records import UserError
from captionseg.reporting.overlay import (
    IGNORED,
    add_legend,
    check_writable,
    draw_legend,
    draw_overlay,
    draw_sheet,
    find_boundaries,
    fit,
    format_hexes,
    make_palette,
    measure_shares,
    write_picture,
)


def test_palette_is_fixed_and_its_colours_differ():
    many = make_palette(100)
    assert many.dtype == np.uint8
    assert np.array_equal(make_palette(7), many[:7])
    distance = np.linalg.norm(many[:, None].astype(float) - many[None], axis=2)
    near = [distance[:n, :n][~np.eye(n, dtype=bool)].min() for n in (4, 12, 100)]
    # the first are the farthest apart, and no two of a hundred are alike
    assert near[0] > near[1] > near[2] > 10
    assert len(make_palette(0)) == 0


def test_hexes():
    assert format_hexes(np.array([[255, 0, 16]], np.uint8)) == ["#ff0010"]


def test_overlay_tints_by_label_and_leaves_ignored_pixels():
    image, labels = np.full((6, 8, 3), 100, np.uint8), np.zeros((6, 8), np.uint8)
    labels[:, 4:], labels[5] = 1, IGNORED
    out = draw_overlay(
        image, labels, np.array([[200, 0, 100], [0, 100, 200]], np.uint8), opacity=0.5
    )
    assert out[0, 0].tolist() == [150, 50, 100]
    assert out[0, 6].tolist() == [50, 100, 150]
    assert out[5, 0].tolist() == [100, 100, 100]
    assert (out[0, 3] > 150).all()  # the line between them is light


@pytest.mark.parametrize("opacity", [0.3, 0.55])
def test_tints_and_lines_by_the_formula(opacity):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (150, 83, 3)).astype(np.uint8)
    labels = rng.integers(0, 9, image.shape[:2])
    labels[rng.random(labels.shape) < 0.2] = IGNORED
    colours = make_palette(9)
    known, line = (labels != IGNORED)[..., None], find_boundaries(labels)[..., None]
    tint = colours[np.where(known[..., 0], labels, 0)].astype(float)
    expected = np.where(known, opacity * (tint - image) + image, image)
    expected = np.where(line, expected + 0.75 * (255 - expected), expected)
    found = draw_overlay(image, labels, colours, opacity=opacity)
    assert np.array_equal(found, np.round(expected).astype(np.uint8))


@pytest.mark.parametrize("label", [-1, 2, 256])
def test_a_label_without_a_colour_is_an_error(label):
    labels = np.full((2, 2), label)
    with pytest.raises(IndexError, match="labels are 0 to 1 or 255"):
        draw_overlay(np.zeros((2, 2, 3), np.uint8), labels, make_palette(2))


def test_boundaries_lie_left_and_above_of_a_change():
    labels = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])
    assert find_boundaries(labels).tolist() == [
        [False, True, False],
        [True, True, True],
        [False, False, False],
    ]
    assert not find_boundaries(np.zeros((4, 4))).any()


def test_shares_leave_ignored_pixels_out_of_the_whole():
    assert measure_shares(np.array([[0, 0, 2, IGNORED]]), 4).tolist() == pytest.approx(
        [2 / 3, 0, 1 / 3, 0]
    )
    assert measure_shares(np.full((2, 2), IGNORED), 2).tolist() == [0, 0]


def test_legend_grows_by_lines_and_holds_its_colours():
    colours = make_palette(12)
    one, many = draw_legend(["zebra"], colours[:1], 200), draw_legend(["zebra"] * 12, colours, 200)
    assert one.shape[1] == many.shape[1] == 200
    assert one.shape[0] < many.shape[0]
    seen = {tuple(c) for c in many.reshape(-1, 3).tolist()}
    assert {tuple(c) for c in colours.tolist()} <= seen
    assert draw_legend([], colours[:0], 50).shape == (0, 50, 3)
    assert not np.array_equal(one, draw_legend(["zebra"], colours[:1], 200, struck=[True]))


def test_pictures_with_legend_and_sheets_keep_the_pictures():
    picture = np.full((30, 60, 3), 7, np.uint8)
    assert np.array_equal(add_legend(picture, ["a"], make_palette(1))[:30], picture)
    page = draw_sheet(["one", "two"], [[picture, picture[:20]], [picture, picture]], gap=4)
    assert page.shape == (28 + 30 + 4 + 30, 60 + 4 + 60, 3)
    assert (page == 7).all(2).sum() == 3 * 30 * 60 + 20 * 60


def test_large_pictures_are_made_smaller_and_small_ones_are_left():
    picture = np.full((30, 60, 3), 7, np.uint8)
    assert np.array_equal(fit(picture, 20), np.full((10, 20, 3), 7))
    assert np.array_equal(fit(picture, 100), picture)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_written_pictures_have_no_metadata_and_the_same_bytes(tmp_path, name):
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    for folder in ("one", "two"):
        write_picture(picture, tmp_path / folder / name)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with Image.open(tmp_path / "one" / name) as image:
        assert image.size == (30, 20)
        assert not image.getexif()
        assert not getattr(image, "text", {})


@pytest.mark.parametrize("name", ["a", "a.txt", "a.gif"])
def test_a_name_that_is_no_picture_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"use \.png"):
        write_picture(np.zeros((2, 2, 3), np.uint8), tmp_path / name)


def test_a_place_that_cannot_be_written_to_is_known_before_the_work(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"folder.png: cannot be written \(it is a folder\)"):
        check_writable(tmp_path / "folder.png")
    with pytest.raises(UserError, match="file is not a writable folder"):
        check_writable(tmp_path / "file" / "deep" / "x.png")
    assert check_writable(tmp_path / "deep" / "er" / "x.jpg") == "JPEG"
