import re

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from captionseg.marking.boilerplate import Boilerplate, build_pattern
from captionseg.records import UserError
from tests.captionseg.marking.rows import captions_of, marked


@pytest.mark.parametrize(
    ("caption", "phrase"),
    [
        ("Red barn - CLICK to  enlarge!", "'click to enlarge'"),
        ("Image may contain: dog, grass", "'image may contain'"),
        ("stock photo of a dog", "'stock photo of'"),
        ("We use cookies. A dog", "'we use cookies'"),
        ("Lorem ipsum dolor sit amet", "'lorem ipsum'"),
        ("royalty-free picture of a cat", "'royalty-free'"),
        ("  Untitled. ", "'untitled'"),
        ("[photo]", "'photo'"),
    ],
)
def test_what_is_found(caption, phrase):
    (_, reason, _), *_ = marked(Boilerplate(), captions_of(caption)).values()
    assert phrase.strip("'") in reason
    assert reason.startswith("boilerplate in the caption: ")


@pytest.mark.parametrize(
    "caption",
    [
        "a dog clicks to enlarges",
        "a photo of a dog",
        "an untitled painting on the wall",
        "chick to enlarge",
        "stockphoto ofen",
        "the logo of a bakery above its door",
        "sign up forks",
        "éclick here",
        "",
    ],
)
def test_what_is_not(caption):
    assert marked(Boilerplate(), captions_of(caption)) == {}


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "mine.txt").write_text("# mine\nVisit our Shop (24/7)\n= nice\n")
    path = str(tmp_path / "mine.txt")
    rows = captions_of("visit our shop (24/7) now", "nice", "a nice dog", "click here")
    assert sorted(marked(Boilerplate(file=path), rows)) == [0, 1, 3]
    assert sorted(marked(Boilerplate(file=path, packaged=False), rows)) == [0, 1]
    with pytest.raises(UserError, match=r"^curate.marks.boilerplate.file: .* cannot be read"):
        marked(Boilerplate(file=str(tmp_path / "no")), rows)
    with pytest.raises(ValueError, match="packaged: false leaves no phrase"):
        Boilerplate(packaged=False)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    assert marked(Boilerplate(str(tmp_path / "empty.txt"), packaged=False), rows) == {}


def test_both_engines_read_signs_as_they_are():
    signs = "a.b*c+d?e(f)g[h]i{j}k|l^m$n\\o-p&q~r#s/t'u\"v@w%x,y;z:1<2>3=4!5`6é7"
    pattern = build_pattern([signs, "= " + signs])
    for text, found in ((signs, True), (signs.replace(".", "x"), False)):
        assert bool(re.search(pattern, text)) == found
        assert pc.match_substring_regex(pa.array([text]), pattern).to_pylist() == [found]
