"""Any picture file becomes an upright 8-bit RGB JPEG, or says in one line why it cannot."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from captionseg.images import shrink_size
from captionseg.sources.encoding import SMALLEST_SIDE, encode_picture
from captionseg.sources.reasons import Refusal


def noise(number: int, width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(data: bytes, longest: int = 512) -> np.ndarray:
    """[H, W, 3] of what `encode_picture` makes of file bytes."""
    picture = encode_picture(data, longest)
    jpeg, size = picture.jpeg, picture.size
    image = Image.open(io.BytesIO(jpeg))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size)
    return np.asarray(image).astype(int)


RED = (200, 30, 40)
MODES = {
    "rgb.jpg": (encoded(Image.new("RGB", (40, 30), RED), "JPEG"), RED),
    "cmyk.jpg": (encoded(Image.new("RGB", (40, 30), RED).convert("CMYK"), "JPEG"), RED),
    "grey.png": (encoded(Image.new("L", (40, 30), 90)), (90, 90, 90)),
    "bits16.png": (encoded(Image.fromarray(np.full((30, 40), 90 * 257, np.uint16))), (90, 90, 90)),
    "bits16.tif": (
        encoded(Image.fromarray(np.full((30, 40), 90 * 257, np.uint16)), "TIFF"),
        (90, 90, 90),
    ),
    "bits32.tif": (
        encoded(Image.fromarray(np.full((30, 40), 90 * 257, np.int32)), "TIFF"),
        (90, 90, 90),
    ),
    "palette.png": (encoded(Image.new("RGB", (40, 30), RED).quantize(4)), RED),
    "one_bit.png": (encoded(Image.new("1", (40, 30), 1)), (255, 255, 255)),
    "alpha.png": (encoded(Image.new("RGBA", (40, 30), (0, 0, 0, 0))), (255, 255, 255)),
    "half_alpha.webp": (
        encoded(Image.new("RGBA", (40, 30), (0, 0, 0, 127)), "WEBP", lossless=True),
        (128, 128, 128),
    ),
    "grey_alpha.png": (encoded(Image.new("LA", (40, 30), (0, 0))), (255, 255, 255)),
    "palette_alpha.gif": (
        encoded(Image.new("P", (40, 30), 0), "GIF", transparency=0),
        (255, 255, 255),
    ),
    "animated.gif": (
        encoded(
            Image.new("RGB", (40, 30), RED),
            "GIF",
            save_all=True,
            append_images=[Image.new("RGB", (40, 30), (0, 0, 255))],
        ),
        RED,
    ),
    "bitmap.bmp": (encoded(Image.new("RGB", (40, 30), RED), "BMP"), RED),
    "portable.ppm": (encoded(Image.new("RGB", (40, 30), RED), "PPM"), RED),
}


@pytest.mark.parametrize("name", MODES)
def test_every_kind_of_picture_becomes_rgb(name: str) -> None:
    data, colour = MODES[name]
    assert np.abs(pixels(data) - colour).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_as_exif_says(orientation: int) -> None:
    """The upper left quarter of the scene is white, whatever way the camera was held."""
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored[orientation])), "JPEG", exif=exif)
    seen = pixels(data).mean(-1)
    assert seen.shape == (40, 60)
    assert seen[:18, :28].min() > 200
    assert max(seen[22:].max(), seen[:, 32:].max()) < 60
    assert b"Exif" not in encode_picture(data, 512).jpeg


# The first tag is one that Pillow cannot write again, as it would to turn picture and metadata
# alike.
UNWRITABLE = bytes.fromhex(
    "457869660000 4d4d002a00000008 0003 0150000200000006 00000032 0112000300000001 00060000 "
    "b469000400000001 0000003800000000 6d616b657200 0001 9081000700000004 30323330 00000000"
)


def test_broken_metadata_does_not_cost_the_picture() -> None:
    picture = Image.new("RGB", (40, 30), RED)
    assert np.abs(pixels(encoded(picture, exif=b"junk")) - RED).max() <= 6
    data = encoded(picture, "JPEG", exif=UNWRITABLE, comment=b"x" * 99)
    assert pixels(data).shape == (40, 30, 3), "turned all the same"
    assert b"xxxx" not in encode_picture(data, 512).jpeg


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((40, 30), 512, (40, 30)),
        ((900, 600), 300, (300, 200)),
        ((600, 900), 300, (200, 300)),
        ((301, 300), 300, (300, 299)),
        ((10_000, 1), 300, (300, 1)),
    ],
)
def test_shrunk_keeps_the_ratio_and_enlarges_nothing(size, longest, expected) -> None:
    assert shrink_size(size, longest) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_shrinking_is_a_mean_over_what_is_there(kind: str) -> None:
    """A large picture, left half black, right half white: no shift, whether or not the decoder
    shrinks too.
    """
    data = np.zeros((1200, 1600, 3), np.uint8)
    data[:, 800:] = 255
    seen = pixels(encoded(Image.fromarray(data), kind), 64)
    assert seen.shape == (48, 64, 3)
    assert seen[:, :30].max() < 40
    assert seen[:, 34:].min() > 215


def test_a_large_jpeg_is_not_decoded_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(
        "captionseg.images.turn_upright", lambda image: (sizes.append(image.size), image)[1]
    )
    assert encode_picture(encoded(noise(1, 1600, 1200), "JPEG"), 100).size == (100, 75)
    assert sizes == [(200, 150)]


def test_the_smallest_side() -> None:
    assert pixels(encoded(noise(1, 99, SMALLEST_SIDE))).shape[:2] == (SMALLEST_SIDE, 99)
    with pytest.raises(Refusal, match=f"too small: 99 x {SMALLEST_SIDE - 1} pixels"):
        encode_picture(encoded(noise(1, 99, SMALLEST_SIDE - 1)), 512)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


BROKEN = {
    "text.jpg": (b"this is no picture at all", "cannot be decoded: no known format"),
    "header.jpg": (b"\xff\xd8\xff\xe0", "cannot be decoded"),
    "truncated.jpg": (encoded(noise(1), "JPEG")[:900], "cannot be decoded"),
    "truncated.png": (encoded(noise(1))[:900], "cannot be decoded"),
    "truncated.gif": (encoded(noise(1), "GIF")[:300], "cannot be decoded"),
    "flipped.png": (
        encoded(noise(1))[:200] + bytes(50) + encoded(noise(1))[250:],
        "cannot be decoded",
    ),
    "bomb.png": (
        bomb(60_000, 60_000),
        "cannot be decoded: Image size (3600000000 pixels) exceeds limit",
    ),
    "short.png": (bomb(3000, 3000), "cannot be decoded"),
    "one.png": (encoded(Image.new("RGB", (1, 1))), "too small: 1 x 1 pixels, at least 16"),
    "strip.png": (encoded(Image.new("RGB", (4000, 40))), "too small: 512 x 5 pixels"),
    "float.tif": (
        encoded(Image.new("F", (40, 30), 0.5), "TIFF"),
        "cannot be decoded: floating-point",
    ),
    "signed.tif": (encoded(Image.new("I", (40, 30), -5), "TIFF"), "cannot be decoded: 32-bit"),
    "vector.png": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n",
        "cannot be decoded: no known format",
    ),
    "page.jpg": (b"<html>404 not found</html>", "cannot be decoded: no known format"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pictures_say_why(name: str) -> None:
    data, reason = BROKEN[name]
    messages = []
    for _ in range(2):
        with pytest.raises(Refusal) as caught:
            encode_picture(data, 512)
        messages.append(str(caught.value))
    assert messages[0].startswith(reason)
    assert messages[0] == messages[1], "a message that differs from run to run changes the table"
    assert "\n" not in messages[0]
    assert len(messages[0]) < 250
    assert "0x" not in messages[0]


def test_any_damage_is_refused_or_decoded() -> None:
    """Random bytes changed in files of every format: a picture or Refused, and nothing else."""
    rng = np.random.default_rng(0)
    kinds = {
        "JPEG": {},
        "PNG": {},
        "GIF": {},
        "WEBP": {},
        "TIFF": {"compression": "tiff_lzw"},
        "BMP": {},
        "PPM": {},
    }
    refused = 0
    for kind, options in kinds.items():
        whole = np.frombuffer(encoded(noise(1, 24, 20), kind, **options), np.uint8)
        for _ in range(60):
            data = whole.copy()
            data[rng.integers(0, len(data) if rng.random() < 0.3 else 60, rng.integers(1, 9))] = (
                rng.integers(0, 256)
            )
            try:
                encode_picture(data[: rng.integers(1, 2 * len(data))].tobytes(), 64)
            except Refusal:
                refused += 1
    assert 100 < refused < 420
