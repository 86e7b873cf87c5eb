"""One function opens pictures for all: the same pixels, or the same refusal, in download, segment
and evaluate.
"""

from __future__ import annotations

import ast
import io
import logging
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captionseg import images, rgb
from captionseg.benchmarks.mask_files import read_mask
from captionseg.inference.image_files import read_image
from captionseg.records import UserError
from captionseg.sources.encoding import encode_picture
from captionseg.sources.reasons import Refusal

ROOT = Path(__file__).parents[2]
SIZE = (24, 20)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    image.save(stream := io.BytesIO(), kind, **options)
    return stream.getvalue()


def png(depth: int, kind: int, row: bytes, *, extra: bytes = b"") -> bytes:
    """A PNG of equal rows; `extra` is a chunk tRNS."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", *SIZE, depth, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + (chunk(b"tRNS", extra) if extra else b"")
        + chunk(b"IDAT", zlib.compress((b"\0" + row) * SIZE[1]))
        + chunk(b"IEND", b"")
    )


def tiff(bits: int, photometric: int, data: bytes, *, samples: int = 1, **more: int) -> bytes:
    """A TIFF whose tags are as they are given, since Pillow does not write all that it reads."""
    tags = {
        256: SIZE[0],
        257: SIZE[1],
        258: bits,
        259: 1,
        262: photometric,
        277: samples,
        278: SIZE[1],
        279: len(data),
        **{int(name[1:]): value for name, value in more.items()},
    }
    after = 8 + 2 + 12 * (len(tags) + 1) + 4
    several = struct.pack(f"<{samples}H", *[bits] * samples)
    tags[273] = after + len(several)
    out = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag in sorted(tags):
        count = samples if tag in (258, 339) else 1
        value = tags[tag] if tag != 258 or samples < 3 else after
        out += struct.pack("<HHI", tag, 4 if tag in (273, 279) else 3, count) + struct.pack(
            "<I", value
        )
    return out + struct.pack("<I", 0) + several + data


N = SIZE[0] * SIZE[1]
GREY = 90
HALF = np.full((SIZE[1], SIZE[0]), GREY * 257, np.uint16)
ANSWERS: dict[str, tuple[bytes, tuple[int, int, int]]] = {
    "1": (encoded(Image.new("1", SIZE, 1)), (255, 255, 255)),
    "L": (encoded(Image.new("L", SIZE, GREY)), (90, 90, 90)),
    "L of 2 bits": (png(2, 0, b"\x55" * 6), (85, 85, 85)),
    "L of 2 bits, transparent": (png(2, 0, b"\x55" * 6, extra=b"\0\1"), (255, 255, 255)),
    "L of 4 bits, transparent": (png(4, 0, b"\x33" * 12, extra=b"\0\3"), (255, 255, 255)),
    "L, white is zero": (tiff(8, 0, b"\x0a" * N), (245, 245, 245)),
    "LA": (encoded(Image.new("LA", SIZE, (0, 0))), (255, 255, 255)),
    "P": (encoded(Image.new("RGB", SIZE, (9, 80, 7)).quantize(2)), (9, 80, 7)),
    "P, transparent": (encoded(Image.new("P", SIZE, 0), transparency=0), (255, 255, 255)),
    "PA": (encoded(Image.new("RGBA", SIZE, (0, 0, 0, 127)).quantize(2)), (128, 128, 128)),
    "RGB of 16 bits": (png(16, 2, struct.pack(">HHH", 30000, 8, 300) * 24), (117, 0, 1)),
    "RGB of 16 bits, transparent": (
        png(
            16, 2, struct.pack(">HHH", 30000, 8, 300) * 24, extra=struct.pack(">HHH", 30000, 8, 300)
        ),
        (255, 255, 255),
    ),
    "RGBA": (encoded(Image.new("RGBA", SIZE, (0, 0, 0, 127))), (128, 128, 128)),
    "RGBA, premultiplied": (tiff(8, 2, b"\x40\0\0\x80" * N, samples=4, t338=1), (191, 127, 127)),
    "RGB and infrared": (tiff(8, 2, b"\x0a\x14\x1e\0" * N, samples=4), (10, 20, 30)),
    "CMYK of TIFF": (encoded(Image.new("CMYK", SIZE, (255, 0, 255, 0)), "TIFF"), (0, 255, 0)),
    "CMYK of Adobe": (
        encoded(Image.new("CMYK", SIZE, (255, 0, 255, 0)), "JPEG", quality=100),
        (0, 255, 0),
    ),
    "YCbCr": (encoded(Image.new("YCbCr", SIZE, (GREY, 128, 128)), "TIFF"), (90, 90, 90)),
    "I;16 of PNG": (encoded(Image.fromarray(HALF)), (90, 90, 90)),
    "I;16 of PNG, transparent": (png(16, 0, b"\x75\x30" * 24, extra=b"\x75\x30"), (255, 255, 255)),
    "I;16 of TIFF": (encoded(Image.fromarray(HALF), "TIFF"), (90, 90, 90)),
    "I;16B of TIFF": (b"MM\0*" + bytes(4), (0, 0, 0)),  # made below
    "I;16, white is zero": (tiff(16, 0, struct.pack("<H", 65535 - GREY * 257) * N), (90, 90, 90)),
    "I;16 of 12 bits": (tiff(12, 1, b"\x5a\x05\xa0" * (N // 2)), (90, 90, 90)),
    "I of PGM": (b"P5\n24 20\n65535\n" + struct.pack(">H", GREY * 257) * N, (90, 90, 90)),
    "I of PGM, 12 bits": (b"P5\n24 20\n4095\n" + struct.pack(">H", 0xFFF) * N, (255, 255, 255)),
    "I of 32 bits": (encoded(Image.fromarray(HALF.astype(np.int32)), "TIFF"), (90, 90, 90)),
}
ANSWERS["I;16B of TIFF"] = (
    b"MM\0*"
    + struct.pack(">IH", 8, 9)
    + b"".join(
        struct.pack(">HHI", tag, kind, 1)
        + (struct.pack(">I", value) if kind == 4 else struct.pack(">HH", value, 0))
        for tag, kind, value in (
            (256, 3, 24),
            (257, 3, 20),
            (258, 3, 16),
            (259, 3, 1),
            (262, 3, 1),
            (273, 4, 122),
            (277, 3, 1),
            (278, 3, 20),
            (279, 4, 2 * N),
        )
    )
    + bytes(4)
    + struct.pack(">H", GREY * 257) * N,
    (90, 90, 90),
)

REFUSED: dict[str, tuple[bytes, str]] = {
    "F": (encoded(Image.new("F", SIZE, 0.5), "TIFF"), "floating-point pixels have no known range"),
    "F of PFM": (b"Pf\n24 20\n-1.0\n" + struct.pack("<f", 0.5) * N, "floating-point pixels"),
    "I, negative": (encoded(Image.new("I", SIZE, -5), "TIFF"), "32-bit pixels from -5 to -5"),
    "I, beyond 16 bits": (
        encoded(Image.new("I", SIZE, 70_000), "TIFF"),
        "32-bit pixels from 70000",
    ),
    "I, 8 bits in 32": (
        encoded(Image.new("I", SIZE, 255), "TIFF"),
        "32-bit pixels from 255 to 255",
    ),
    "L, signed": (tiff(8, 1, b"\xff" * N, t339=2), "signed pixels"),
    "LAB": (tiff(8, 8, b"\x64\0\0" * N, samples=3), "pixels of mode LAB"),
    "EPS": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n",
        "no known format",
    ),
    "EPS of DOS": (b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, 99) + bytes(99), "no known format"),
    "WMF": (b"\xd7\xcd\xc6\x9a\0\0" + bytes(40), "no known format"),
    "PDF": (b"%PDF-1.7\n", "no known format"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_mode_is_the_same_in_training_and_in_segment(name: str, tmp_path: Path) -> None:
    data, colour = ANSWERS[name]
    (tmp_path / "x.jpg").write_bytes(data)
    seen = read_image(tmp_path / "x.jpg")
    assert (seen.shape, seen.dtype) == ((20, 24, 3), np.uint8)
    assert np.abs(seen.astype(int) - colour).max() <= (2 if "Adobe" in name else 0)
    trained = np.asarray(Image.open(io.BytesIO(encode_picture(data, 512).jpeg))).astype(int)
    assert np.abs(trained - seen).max() <= 6, "but for the loss of JPEG"


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_known_range_or_is_no_picture_is_refused_everywhere(
    name: str, tmp_path: Path
) -> None:
    data, reason = REFUSED[name]
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(UserError, match=f"x.jpg: not a readable image: {reason}"):
        read_image(tmp_path / "x.jpg")
    with pytest.raises(Refusal, match=f"cannot be decoded: {reason}"):
        encode_picture(data, 512)


@pytest.mark.parametrize(("pixels", "kind"), [(110, "warns"), (900, "refuses")])
def test_one_limit_of_pixels(
    pixels: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above its limit Pillow warns, above twice that it refuses: both are refused here, alike for
    all.
    """
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encoded(Image.new("L", (pixels // 10, 10)))
    (tmp_path / "x.png").write_bytes(data)
    line = (
        rf"Image size \({pixels} pixels\) exceeds limit .*: more than 100 pixels; shrink it first$"
    )
    for call in (
        lambda: read_image(tmp_path / "x.png"),
        lambda: read_mask(tmp_path / "x.png"),
        lambda: encode_picture(data, 512),
    ):
        with pytest.raises((UserError, Refusal), match=line):
            call()


def test_no_program_is_started_for_a_picture(tmp_path: Path) -> None:
    """A Ghostscript of ours, first on the PATH, would leave a file; its own process, as Pillow
    keeps what it found.
    """
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    (tmp_path / "x.jpg").write_bytes(REFUSED["EPS"][0])
    (tmp_path / "x.png").write_bytes(REFUSED["EPS"][0])
    code = (
        "import sys; from captionseg.benchmarks.mask_files import read_mask\n"
        "from captionseg import images\n"
        "from captionseg.datasets.shard_images import decode\n"
        "from captionseg.datasets.truth_masks import decode_mask\nfrom "
        "captionseg.records import UserError; from pathlib import Path\ndata = "
        "Path('x.jpg').read_bytes()\nfor call in (lambda: images.read_pixels(data), lambda: "
        "decode(data, 't.tar: 1.jpg'),\n             lambda: decode_mask(data), lambda: "
        "read_mask(Path('x.png'))):\n    try: call()\n    except (images.Unreadable, UserError): "
        "print('refused')\n"
    )
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.stdout.split() == ["refused"] * 4, done.stderr
    assert not (tmp_path / "started").exists()


def test_pictures_are_opened_in_one_place() -> None:
    """Every other `Image.open` of the library says which formats it means."""
    found = []
    for path in [
        *ROOT.glob("captionseg/**/*.py"),
        *ROOT.glob("flows/*.py"),
        *ROOT.glob("stages/*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open":
                found += (
                    []
                    if any(k.arg == "formats" for k in node.keywords)
                    else [f"{path.name}:{node.lineno}"]
                )
    assert not found


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "a folder"),
        (lambda p: p.touch(), "empty file"),
        (lambda p: os.mkfifo(p), "not a regular file"),
        (lambda p: p.symlink_to(p), "Too many levels"),
        (lambda p: p.symlink_to("nowhere"), "no such file"),
    ],
)
def test_what_is_no_file_of_a_picture(make, reason: str, tmp_path: Path) -> None:
    make(tmp_path / "x.png")
    with pytest.raises(UserError, match=rf"x\.png: .*{reason}"):
        read_image(tmp_path / "x.png")


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGEST_FILE", 2**20)
    with (tmp_path / "x.png").open("wb") as stream:
        stream.truncate(2**20 + 1)
    with pytest.raises(UserError, match="file larger than 1 MiB"):
        read_image(tmp_path / "x.png")


def test_what_is_left_out_or_almost_black_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rgb, "WARNED", set())
    blue, dark = Image.new("RGB", SIZE, "blue"), Image.fromarray(np.full((20, 24), 4000, np.uint16))
    with caplog.at_level(logging.WARNING):
        for name in ("a.gif", "b.gif"):
            images.open_image(
                encoded(Image.new("RGB", SIZE, "red"), "GIF", save_all=True, append_images=[blue]),
                name=name,
            )
            images.open_image(encoded(dark), name=name)
        images.open_image(encoded(Image.fromarray(HALF)), name="c.png")
    assert [text.split(" (further")[0] for text in caplog.messages] == [
        "a.gif: has several frames or pages; only the first is used",
        "a.gif: 16-bit grey and almost black, the brightest pixel is 4000 of 65535; stretch the "
        "contrast of such pictures first",
    ]


# ------------------------------------------------------------------------------------------------
# masks

PALETTE = Image.new("P", SIZE, 3)
PALETTE.putpalette([0, 0, 0, 9, 9, 9, 0, 0, 0, 9, 9, 9])


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (png(1, 0, b"\xff" * 3), 1),
        (png(2, 0, b"\xaa" * 6), 2),
        (png(4, 0, b"\x77" * 12), 7),
        (png(8, 0, b"\x09" * 24), 9),
        (png(16, 0, b"\x01\x02" * 24), 258),
        (tiff(4, 1, b"\x33" * (N // 2)), 3),
        (tiff(16, 1, b"\x02\x01" * N), 258),
        (encoded(PALETTE), 3),
    ],
)
def test_class_numbers_of_few_and_of_many_bits(data: bytes, number: int, tmp_path: Path) -> None:
    """Pillow multiplies grey of 2 and 4 bits, which made 85 of class 1 and, without a word, 255 of
    class 3.
    """
    (tmp_path / "m.png").write_bytes(data)
    assert (read_mask(tmp_path / "m.png") == number).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded(Image.new("L", SIZE, 3), "JPEG"), "no known format"),
        (
            encoded(
                Image.new("L", SIZE), "TIFF", save_all=True, append_images=[Image.new("L", SIZE)]
            ),
            "several frames",
        ),
        (tiff(8, 0, b"\x0a" * N), "stored inverted"),
        (tiff(16, 0, b"\x0a\0" * N), "stored inverted"),
    ],
)
def test_masks_whose_numbers_are_not_what_was_meant(
    data: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "m.png").write_bytes(data)
    with pytest.raises(UserError, match=reason):
        read_mask(tmp_path / "m.png")
