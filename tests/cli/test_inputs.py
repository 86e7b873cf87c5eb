"""Pictures and labels of every kind: a result, or one clear line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import draw, encode

GREY16 = Image.fromarray(np.linspace(0, 65535, 1200).reshape(30, 40).astype(np.uint16))
GOOD = {
    "grey.png": lambda: encode(draw().convert("L")),
    "grey_alpha.png": lambda: encode(draw().convert("LA")),
    "rgba.png": lambda: encode(draw().convert("RGBA")),
    "cmyk.jpg": lambda: encode(draw().convert("CMYK"), "JPEG"),
    "sixteen.png": lambda: encode(GREY16),
    "sixteen.tif": lambda: encode(GREY16, "TIFF"),
    "palette.gif": lambda: encode(draw().convert("P"), "GIF"),
    "one.png": lambda: encode(draw(1, 1)),
    "thin.png": lambda: encode(draw(900, 2)),
    "bits.png": lambda: encode(draw().convert("1")),
    "picture.webp": lambda: encode(draw(), "WEBP"),
    "UPPER.JPG": lambda: encode(draw(), "JPEG"),
    "no_suffix": lambda: encode(draw()),
    "wrong.jpg": lambda: encode(draw()),  # its content is a PNG
    "name with spaces, and é.png": lambda: encode(draw()),
}
BAD = {
    "empty.jpg": b"",
    "text.jpg": b"this is no picture",
    "cut.png": encode(draw(200, 200))[:300],
    "cut.jpg": encode(draw(200, 200), "JPEG")[:200],
    "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "float.tif": encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_kind_of_picture_has_a_result(segment, folder, name):
    (folder / name).write_bytes(GOOD[name]())
    assert segment(name, "-o", "out", "--heat") == 0, segment.err
    assert segment.errors == []
    stem = name.rpartition(".")[0] or name
    with Image.open(name) as source, Image.open(f"out/{stem}_labels.png") as labels:
        assert (labels.size, labels.mode) == (source.size, "P")
        assert set(np.unique(np.asarray(labels))) <= {0, 1, 2}
    with Image.open(f"out/{stem}_segments.png") as overlay:
        assert overlay.width >= labels.width
    with Image.open(f"out/{stem}_heat.png") as heat:
        assert heat.width >= 130
    data = json.loads((folder / "out" / "segments.json").read_text())
    assert sum(one["area"] for one in data["annotations"]) == labels.width * labels.height
    shares = [float(line.split()[-2]) for line in segment.out[:-1]]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert segment.out[-1] == f"out/{stem}_segments.png"
    assert segment.err[0] == "model: models/mine"


def test_an_animated_picture_is_its_first_frame(segment, folder, caplog):
    frames = [draw(seed=n).convert("P") for n in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "still.png").write_bytes(encode(frames[0].convert("RGB")))
    assert segment("moving.gif", "still.png", "-o", "out") == 0
    moving, still = (np.asarray(Image.open(f"out/{n}_labels.png")) for n in ("moving", "still"))
    np.testing.assert_array_equal(moving, still)


def test_forty_eight_million_pixels(segment, folder):
    Image.new("RGB", (8000, 6000), (90, 160, 40)).save(folder / "large.png", compress_level=1)
    assert segment("large.png") == 0
    with Image.open("large_segments.png") as image:
        assert image.width == 8000
        assert 6000 + 150 < image.height < 9000  # a legend that can be read on a screen


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_one_line(segment, folder, name):
    (folder / name).write_bytes(BAD[name])
    before = sorted(folder.rglob("*"))
    assert segment(name) == 1
    assert (segment.out, len(segment.err)) == ([], 1)
    assert segment.err[0].startswith(f"error: {name}: not a readable image: ")
    assert sorted(folder.rglob("*")) == before


def test_a_link_to_itself_is_one_line(segment, folder):
    (folder / "loop.png").symlink_to("loop.png")
    assert segment("loop.png") == 1
    assert segment.err == [
        "error: loop.png: not a readable image: Too many levels of symbolic links"
    ]
    (folder / "good.png").write_bytes(encode(draw()))
    assert segment("good.png", "loop.png") == 1  # the other picture is done
    assert segment.out[-1].endswith("-> good_segments.png")


@pytest.mark.parametrize(
    ("words", "labels", "code", "message"),
    [
        (["a.png"], "", 2, 'error: --labels: give at least one, for example --labels "zebra, gr'),
        (["a.png", "--labels", "a", "--labels-file", "w"], "", 2, "not allowed with --labels"),
        (["a.png"], " , ", 1, "error: --labels: give at least one"),
        (["a.png"], "...", 1, "error: --labels: '...' contains no word; remove it or use a word"),
        (["a.png"], ",".join(map(str, range(256))), 1, "256 labels; at most 255 are possible"),
        (["a.png"], "man; boy, boy", 1, "error: labels: 'boy' is a name of 'man' and again of"),
        (["a.png"], "@none.txt", 1, "error: none.txt: no such file"),
        (["a.png"], "@a.png", 1, "error: a.png: is not a text in UTF-8"),
        (["a.png"], "@empty.txt", 1, "error: empty.txt: holds no label; write one in each line"),
        ([], "a", 2, "error: Missing argument 'PICTURE...'. (see captionseg segment -h)"),
        (["none.png"], "a", 1, "error: none.png: no such file"),
        (["empty"], "a", 1, "error: empty: no picture in this folder (.jpg, .png, .webp, ..)"),
        (["*.tiff"], "a", 1, "error: *.tiff: matches no picture"),
        (["a.png", "--model", "nowhere"], "a", 1, "no such file; train a model first"),
        (["a.png", "--model", "models:/x@y"], "a", 1, "error: models:/x@y: "),
        (["a.png", "b.png", "-o", "x.png"], "a", 1, "error: --out: names one file, but there are"),
        (["a.png", "b.png", "--mask", "x.png"], "a", 1, "error: --mask: names one file, but ther"),
        (["a.png", "-o", "a.png/x"], "a", 1, "is not a writable folder"),
        (["a.png", "--refine", "all"], "a", 2, "error: Invalid value for '--refine': 'all' is no"),
        (["a.png", "--contrast", "2"], "a", 1, "error: --contrast: '2' is not a number from 0 to"),
        (["a.png", "--nothing"], "a", 2, "error: No such option '--nothing'. ("),
        (["a.png", "--device", "abacus"], "a", 1, "abacus"),
    ],
)
def test_mistakes_are_one_line(segment, folder, monkeypatch, words, labels, code, message):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(encode(draw()))
    (folder / "empty").mkdir()
    (folder / "empty.txt").write_text("# nothing\n\n")
    before = sorted(folder.rglob("*"))
    assert segment(*words, labels=labels) == code
    assert (segment.out, len(segment.err)) == ([], 1)
    assert segment.err[0].startswith("error: ")
    assert message in segment.err[0]
    assert sorted(folder.rglob("*")) == before


def test_a_label_of_any_length_leaves_shares_that_can_be_read(segment, folder):
    (folder / "a.png").write_bytes(encode(draw()))
    assert segment("a.png", labels="dog " * 90 + ", grass") == 0
    assert max(len(line) for line in segment.out) < 80


def test_two_hundred_labels(segment, folder):
    (folder / "a.png").write_bytes(encode(draw(64, 64)))
    assert segment("a.png", labels=",".join(f"thing {n}" for n in range(200))) == 0
    assert len(segment.out) == 201
    with Image.open("a_segments.png") as overlay:
        assert overlay.width >= 64
        assert overlay.height < 64 + 30 * 6  # only what is in the picture is in the legend


def test_labels_of_a_file_and_several_names_of_one(segment, folder):
    (folder / "a.png").write_bytes(encode(draw()))
    (folder / "words.txt").write_text("\ufeff# mine\ndog; puppy\n\ngrass, water\n", "utf-8")
    assert segment("a.png", labels="@words.txt") == 0
    first = segment.out
    assert {line.split()[0] for line in first[:-1]} == {"dog", "grass", "water"}
    assert segment("a.png", "--labels-file", "words.txt", labels="") == 0
    assert segment.out == first
    assert segment("a.png", labels="dog; puppy, grass, water") == 0
    assert segment.out == first


def test_stdin(segment, folder, monkeypatch):
    class Stdin:
        class buffer:
            content = encode(draw())

            @classmethod
            def read(cls, most):
                return cls.content[:most]

    monkeypatch.setattr("sys.stdin", Stdin)
    assert segment("-") == 0
    assert segment.out[-1] == "stdin_segments.png"
    Stdin.buffer.content = b"nothing"
    assert segment("-") == 1
    assert segment.err == ["error: stdin: not a readable image: no known format"]
