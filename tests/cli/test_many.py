"""Many pictures of one call: which they are, where their results lie, and what is said."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from PIL import Image

from captionseg import cli
from captionseg.api import model as api_model
from captionseg.api.sources import list_sources
from captionseg.records import UserError
from tests.cli.conftest import draw, encode


@pytest.fixture
def pictures(folder):
    """photos/{a.png, b.jpg, deep/c.png}, and b.png."""
    (folder / "photos" / "deep").mkdir(parents=True)
    for name, kind in (
        ("photos/b.jpg", "JPEG"),
        ("photos/a.png", "PNG"),
        ("photos/deep/c.png", "PNG"),
        ("b.png", "PNG"),
    ):
        (folder / name).write_bytes(encode(draw(seed=len(name)), kind))
    (folder / "photos" / "notes.txt").write_text("none")
    (folder / "photos" / ".hidden.png").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["photos"], ["photos/a.png", "photos/b.jpg"]),
        (["b.png", "photos"], ["b.png", "photos/a.png", "photos/b.jpg"]),
        (["photos/*.png"], ["photos/a.png"]),
        (["photos/**/*.png"], ["photos/a.png", "photos/deep/c.png"]),
        (["photos/*"], ["photos/a.png", "photos/b.jpg"]),
        (["b.png", "./b.png", "photos/../b.png"], ["b.png"]),
        (["-", "b.png", "-"], ["-", "b.png"]),
        (["photos/notes.txt"], ["photos/notes.txt"]),
    ],
)
def test_which_pictures_are_meant(pictures, words, names):
    assert [str(source.path) for source in list_sources(words)] == names


def test_a_name_with_signs_of_a_pattern_is_a_name(pictures):
    (pictures / "a[1].png").write_bytes(encode(draw()))
    assert [str(source.path) for source in list_sources(["a[1].png"])] == ["a[1].png"]
    with pytest.raises(UserError, match=r"a\[2\].png: matches no picture"):
        list_sources(["a[2].png"])


def test_one_model_for_all_pictures_and_all_results_in_a_folder(segment, pictures, monkeypatch):
    loads = []
    load = api_model.load_model
    monkeypatch.setattr(
        api_model, "load_model", lambda *args, **rest: loads.append(args) or load(*args, **rest)
    )
    assert segment("photos", "b.png", "photos/deep/c.png", "-o", "out") == 0
    assert len(loads) == 1
    found = sorted(p.name for p in (pictures / "out").iterdir())
    stems = ("a", "b", "b-2", "c")
    assert found == sorted(
        ["segments.json", *(f"{s}_{kind}.png" for s in stems for kind in ("labels", "segments"))]
    )
    assert [line.partition(": ")[0] for line in segment.out] == [
        "photos/a.png",
        "photos/b.jpg",
        "b.png",
        "photos/deep/c.png",
    ]
    assert segment.out[2].endswith("-> out/b-2_segments.png")
    data = json.loads((pictures / "out" / "segments.json").read_text())
    assert [one["file_name"] for one in data["images"]] == [
        "photos/a.png",
        "photos/b.jpg",
        "b.png",
        "photos/deep/c.png",
    ]
    assert [c["name"] for c in data["categories"]] == ["dog", "grass", "water"]
    single = np.asarray(Image.open(pictures / "out" / "c_labels.png"))
    assert segment("photos/deep/c.png", "--mask", "mask.png") == 0
    np.testing.assert_array_equal(np.asarray(Image.open("mask.png")), single)


def test_a_bad_picture_does_not_end_the_others(segment, pictures):
    (pictures / "photos" / "aa.png").write_bytes(b"no picture")
    assert segment("photos", "-o", "out") == 1
    assert len(segment.out) == 2
    assert segment.errors == [
        "error: photos/aa.png: not a readable image: no known format",
        "error: 1 of 3 pictures could not be segmented",
    ]
    data = json.loads((pictures / "out" / "segments.json").read_text())
    assert len(data["images"]) == 2


def test_results_of_an_earlier_call_are_no_pictures(segment, pictures, caplog):
    """In a folder or pattern; named themselves they are never overwritten."""
    assert segment("*.png") == 0
    assert segment("*.png", "--heat") == 0
    assert [line.partition(": ")[0] for line in segment.out] == ["100.0"] or segment.out[-1] == (
        "b_segments.png"
    )
    assert "b_segments.png: is a result of an earlier call and left out" in caplog.text
    before = (pictures / "b_segments.png").read_bytes()
    assert segment("b.png", "b_segments.png") == 1
    assert segment.errors == [
        "error: b_segments.png: is the input picture, which is never overwritten; choose another "
        "file"
    ]
    assert (pictures / "b_segments.png").read_bytes() == before


def test_masks_are_written_when_it_is_interrupted(segment, pictures, monkeypatch):
    done = api_model.Model.segment_pixels

    def interrupt(self, image, words, *, name=""):
        if name.endswith("b.jpg"):
            raise KeyboardInterrupt
        return done(self, image, words, name=name)

    monkeypatch.setattr(api_model.Model, "segment_pixels", interrupt)
    assert segment("photos", "-o", "out") == 130
    assert segment.err[-1] == "interrupted"
    data = json.loads((pictures / "out" / "segments.json").read_text())
    assert [one["file_name"] for one in data["images"]] == ["photos/a.png"]


def test_quiet_and_verbose(segment, pictures, capsys):
    logger = logging.getLogger("captionseg")
    assert segment("b.png", "-q") == 0
    assert segment.err == []
    assert len(segment.out) == 4
    assert segment("b.png", "-v") == 0
    said = [line for line in segment.err if line.startswith(("models/mine: loaded", "b.png: 40 x"))]
    assert len(said) == 2
    assert "model: models/mine" in segment.err
    assert (logger.level, logger.handlers) == (logging.NOTSET, [])  # as before
    assert cli.main(["-q", "segment", "b.png", "--labels", "dog, cat", "--device", "cpu"]) == 0
    assert capsys.readouterr().err == ""


def test_version_help_and_completion(capsys, monkeypatch):
    import captionseg

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"captionseg {captionseg.__version__}\n"
    for name in cli.COMMANDS:
        assert cli.main([name, "--help"]) == 0
        out, err = capsys.readouterr()
        assert out.startswith(f"Usage: captionseg {name} ")
        assert "--quiet" in out
        assert err == ""
    for words, message in (
        ([], "error: Missing command. (see captionseg -h)"),
        (["segmant"], "error: No such command 'segmant'."),
        (["--all"], "error: No such option '--all'. (see captionseg -h)"),
    ):
        assert cli.main(words) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert err.startswith(message)
    monkeypatch.setenv(cli.COMPLETION, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "captionseg segment --la")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert cli.main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["plain,--labels", "plain,--labels-file"]
