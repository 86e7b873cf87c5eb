"""`captionseg neighbours`: the sheet of a pair, and which neighbour named which concept."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageFont

from captionseg import cli
from captionseg.api.neighbour_sheet import Neighbour, draw_sheet, find_given, format_concepts, wrap
from tests.captionseg.conftest import toy, world  # noqa: F401


@pytest.fixture
def data(world, tmp_path, monkeypatch) -> Path:  # noqa: F811
    """The data of a run."""
    (tmp_path / "data").mkdir()
    for name in ("pairs", "index", "supervision"):
        (tmp_path / "data" / name).symlink_to(getattr(world, name))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((Path(__file__).parents[2] / "params.yaml").read_text())
    return tmp_path


def test_concepts_of_a_caption_are_read_as_curation_reads_them():
    concepts = ["dog", "hot dog", "grass", "bus"]
    assert find_given("Two dogs on grass, and dogs", concepts) == ["dog", "grass"]
    assert find_given("a hot dog in a carpet", concepts) == ["hot dog"]
    assert find_given("buses", concepts) == ["bus"]
    assert find_given("", concepts) == []


def test_lines_by_hand():
    import numpy as np

    image = np.zeros((4, 4, 3), np.uint8)
    pictured = [
        Neighbour(image, None, "a dog", ["dog"]),
        Neighbour(image, 0.9, "dog, grass", ["dog", "grass"]),
        Neighbour(image, 0.8, "a cat", []),
    ]
    concepts = [
        {"text": "dog", "score": 0.5, "weight": 1.0, "support": 7},
        {"text": "sand", "score": None, "weight": 0.25, "support": 0},
    ]
    assert [line.split() for line in format_concepts(concepts, pictured)] == [
        ["concept", "score", "weight", "support", "named", "by"],
        ["dog", "0.500", "1.000", "7", "its", "caption,", "1"],
        ["sand", "0.250", "none", "of", "these"],
    ]
    sheet = draw_sheet("title", pictured)
    assert sheet.shape[1] > 3 * 240
    assert sheet.std() > 0


def test_long_captions_are_cut():
    face = ImageFont.load_default(13)
    lines = wrap("word " * 100, face, 200, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("...")
    assert all(face.getlength(line) <= 200 for line in lines)
    assert wrap("x" * 300, face, 100, 2)[0].endswith("...")
    assert wrap("a\x1b[2J\nb", face, 200, 2) == ["a [2J b"]


def test_the_command(data, capsys, world):  # noqa: F811
    uid = world.table["uid"][0].as_py()
    assert cli.main(["neighbours", uid[:12], "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{uid[:8]}_neighbours.png"
    assert "its caption" in lines[1]
    with Image.open(lines[-1]) as sheet:
        assert sheet.width >= 4 * 240
    assert cli.main(["neighbours", uid, "--rule", "nouns", "-o", "x.png"]) == 0
    assert (data / "x.png").exists()


def test_mistakes_are_one_line(data, capsys, world):  # noqa: F811
    uid = world.table["uid"][0].as_py()
    for words, message in (
        (["ffffffffffff"], "ffffffffffff: no pair fits; `captionseg trace` lists"),
        ([" "], "no pair fits"),
        ([uid, "-k", "0"], "-k: expected at least 1, found 0"),
        ([uid, "--rule", "other"], "--rule: other made nothing of this pair (valid: cocu, nouns"),
        ([uid, "-o", "x.txt"], "x.txt: unsupported image format"),
        ([uid, "--data", "nowhere"], "nowhere"),
    ):
        assert cli.main(["neighbours", *words]) == 1
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert message in err
