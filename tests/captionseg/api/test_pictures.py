"""Pictures of any form become upright 8-bit RGB, or one line says why not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from captionseg.api.pictures import is_one, read
from captionseg.records import UserError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_grey_and_transparent_arrays_become_rgb():
    for array in (GREY, GREY[..., None]):
        np.testing.assert_array_equal(read(array).image, np.repeat(GREY[..., None], 3, 2))
    clear = np.zeros((3, 4, 4), np.uint8)
    clear[0, 0] = (9, 8, 7, 255)
    found = read(clear).image
    assert found[0, 0].tolist() == [9, 8, 7]
    assert found[1, 1].tolist() == [255, 255, 255]  # transparent pixels are white


def test_arrays_that_cannot_be_written_are_copied():
    """As numpy makes them of images of Pillow; torch would warn."""
    array = np.asarray(Image.new("RGB", (4, 3), "red"))
    found = read(array).image
    assert (found.flags.writeable, found[0, 0].tolist()) == (True, [255, 0, 0])
    own = np.zeros((3, 4, 3), np.uint8)
    assert read(own).image is own
    assert read(own[:, ::-1]).image.flags.c_contiguous


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_images_of_pillow_are_as_their_files(mode):
    image = Image.fromarray(np.full((3, 4, 3), 200, np.uint8)).convert("L" if ";" in mode else mode)
    if ";" in mode:
        image = Image.fromarray(np.full((3, 4), 200 << 8, np.uint16))
    found = read(image).image
    assert (found.shape, found.dtype) == ((3, 4, 3), np.uint8)
    if mode not in ("1", "P"):
        assert abs(found.astype(int) - 200).max() <= 2


def test_an_image_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("RGB", (40, 20)).save(stream, "JPEG", exif=exif)
    assert read(Image.open(stream)).image.shape == (40, 20, 3)
    assert read(stream.getvalue()).image.shape == (40, 20, 3)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((3, 4, 3)), "expected uint8 [H, W], [H, W, 3] or [H, W, 4], found float64"),
        (np.zeros((3, 4, 2), np.uint8), "found uint8 [3, 4, 2]"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (b"GIF89a", "not a readable image"),
        (b"", "not a readable image"),
        (Image.new("F", (2, 2)), "floating-point pixels have no known range"),
        (7, "picture: expected a file, bytes, an image of Pillow or an array, found int"),
        ("none.jpg", "none.jpg: no such file"),
    ],
)
def test_what_is_no_picture_is_one_line(picture, message):
    with pytest.raises(UserError) as error:
        read(picture)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_several_pictures_are_not_one():
    assert is_one("a.jpg")
    assert is_one(GREY)
    assert not is_one(["a.jpg"])
    assert not is_one(iter([GREY]))
