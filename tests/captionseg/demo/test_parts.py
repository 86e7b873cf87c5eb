"""What the page shows, without a page: models, masks, pairs, segments; and the command."""

from __future__ import annotations

import base64
import io
import socket
import sys

import numpy as np
import pytest
from PIL import Image

from captionseg import cli
from captionseg.api.pictures import Pixels
from captionseg.api.segmentation import Segmentation
from captionseg.demo import segmenting
from captionseg.demo.model_shelf import ModelShelf, list_models
from captionseg.demo.pair_browser import PAGE, PairBrowser
from captionseg.demo.segment_search import SegmentSearch
from captionseg.demo.segmenting import Shown
from captionseg.demo.sent_pictures import encode_picture
from captionseg.lineage.history import Places
from captionseg.records import UserError
from tests.captionseg.demo.conftest import EVIL

SHIPPED = "(comes with captionseg)"


# ------------------------------------------------------------------------------------------------
# models


def test_the_models_of_a_run_come_first_and_the_best_of_them_before_the_others(tmp_path):
    for name, score in (("a", 10.0), ("b", 30.0), ("c", None)):
        seed = tmp_path / name / "seeds" / "0"
        seed.mkdir(parents=True)
        (tmp_path / name / "model.safetensors").touch()
        if score:
            (seed / "fit.json").write_text(f'{{"tune_miou": {score}}}')
    listed = list_models((), tmp_path)
    assert [name for name in listed if SHIPPED not in name] == ["b", "a", "c"]
    assert list(listed)[-1].endswith(SHIPPED)
    assert [*list_models((), tmp_path / "nowhere")] == [list(listed)[-1]]


def test_models_that_are_asked_for_are_the_only_ones(tmp_path):
    for name in ("x/m", "y/m", "z/n"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    x, y, z = (str(tmp_path / name) for name in ("x/m", "y/m", "z/n"))
    assert list_models((x, y, z), tmp_path) == {x: x, y: y, "n": z}
    assert list_models(("models:/a@champion",), tmp_path) == {"a@champion": "models:/a@champion"}
    with pytest.raises(UserError, match=r"--model: nowhere: no model"):
        list_models(("nowhere",), tmp_path)


def test_a_model_is_loaded_once(run, monkeypatch):
    loads = []
    monkeypatch.setattr("captionseg.api.model.load", lambda source, device: loads.append(source))
    shelf = ModelShelf({"a": "x", "b": "y"}, "cpu")
    for name in "aab":
        shelf.take(name)
    assert loads == ["x", "y"]
    shelf = ModelShelf(list_models((), run.places.models))
    assert shelf.find_searcher() == run.places.models / "use"
    assert ModelShelf({"a": "nowhere"}).find_searcher() is None


# ------------------------------------------------------------------------------------------------
# masks


def shown(mask: list[list[int]], labels: str = "abc") -> Shown:
    image = np.full((len(mask), len(mask[0]), 3), 200, np.uint8)
    count = len(labels)
    found = Segmentation(tuple(labels), np.array(mask, np.int16), np.zeros(count), image, "x.jpg")
    return Shown("m", found, ())


def test_hidden_labels_leave_their_pixels_alone():
    one = shown([[0] * 4 + [1] * 4 + [-1] * 4] * 4)
    image = np.full(3, 200)
    drawn = one.draw((), 1.0)
    assert (drawn[0, 0] != image).any()
    assert (drawn[0, 11] == image).all()  # without a label
    hidden = one.draw({0}, 1.0)
    assert (hidden[0, 0] == image).all()
    assert (hidden[0, 6] == drawn[0, 6]).all()
    assert (one.draw((), 0.0)[0, 0] == image).all()


def test_a_large_picture_is_drawn_at_the_size_of_a_screen_and_described_in_its_own():
    one = shown([[0] * 1500 + [1] * 1500] * 20)
    assert one.draw((), 0.5).shape == (7, 1024, 3)
    assert one.describe() == "m: a 50 %, b 50 %"
    assert segmenting.list_present([one, shown([[2]])]) == ([0, 1, 2], [])
    assert segmenting.list_present([one]) == ([0, 1], ["c"])
    assert shown([[-1]]).describe() == "m: no label"
    assert shown([[*range(10)]], "abcdefghij").describe().endswith("h 10 %, 2 more")
    shares = [segmenting.format_share(share) for share in (0, 0.004, 0.01, 1)]
    assert shares == ["0 %", "under 1 %", "1 %", "100 %"]


def test_segmenting_is_what_the_api_says(run):
    model = ModelShelf(list_models((), run.places.models), "cpu").take("first-mil")
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16], image[:, 16:] = (200, 40, 40), (160, 160, 20)
    one = segmenting.segment(model, "first-mil", Pixels(image, "x.png"), "dog; hound, grass")
    assert (one.result.mask == model.segment(image, ["dog; hound", "grass"]).mask).all()
    assert one.result.labels == ("dog", "grass")
    assert (one.model, one.result.name) == ("first-mil", "x.png")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "words: give at least one"),
        (" , ", "words: give at least one"),
        ("dog, !", "words: '!' contains no word"),
        (", ".join(f"word{n}" for n in range(256)), "words: 256 labels; at most 255"),
        ("dog; cat, cat", "labels: 'cat' is a name of 'dog' and again of 'cat'"),
    ],
)
def test_words_that_cannot_be_used_are_one_line(words, message):
    with pytest.raises(UserError) as error:
        segmenting.check_words(words)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_picture_is_sent_whole_and_no_larger_than_asked_for():
    source = encode_picture(np.full((30, 60, 3), 90, np.uint8), 20)
    kind, data = source.split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (20, 10)


# ------------------------------------------------------------------------------------------------
# pairs


def test_pages_of_pairs_follow_the_shards(run):
    browser = PairBrowser(run.places)
    assert browser.missing == ""
    first, second, third = (browser.list_pairs(page) for page in range(3))
    assert [len(page.pairs) for page in (first, second, third)] == [PAGE, PAGE, 52 - 2 * PAGE]
    assert [page.more for page in (first, second, third)] == [True, True, False]
    assert [page.first for page in (first, second, third)] == [1, 25, 49]
    table = run.world.table["uid"].to_pylist()
    listed = [pair.uid for page in (first, second, third) for pair in page.pairs]
    assert len(set(listed)) == 52
    assert set(table) <= set(listed)  # the table has no pair that failed
    assert sum(not pair.has_picture for page in (first, second) for pair in page.pairs) == 1


def test_pairs_are_found_by_words_split_and_uid(run):
    browser = PairBrowser(run.places)
    dogs = browser.list_pairs(query=" A  DOG ").pairs
    assert dogs
    assert all("a dog" in pair.caption for pair in dogs)
    assert {pair.split for pair in browser.list_pairs(split="tune").pairs} == {"tune"}
    one = dogs[0]
    assert [p.uid for p in browser.list_pairs(query=one.uid[:12].upper()).pairs] == [one.uid]
    assert browser.find(one.uid) == one
    assert browser.find(one.uid[:12]) is None
    assert browser.list_pairs(query=".*").pairs == []  # a text, no pattern
    assert browser.list_pairs(query=str(run.places.params)).pairs == []  # nor a path


def test_a_pair_has_what_the_run_made_of_it(run):
    browser = PairBrowser(run.places)
    pair = browser.list_pairs().pairs[0]
    assert pair.caption == EVIL
    view = browser.read(pair)
    assert view.pair["uid"] == pair.uid
    assert set(view.rules) == {"cocu", "nouns"}
    assert len(view.images) == len(view.rows) == 9  # the index has eight neighbours of each
    for image, row in zip(view.images, view.rows, strict=True):
        assert (image == browser.read_images([browser.find(row["uid"])])[row["uid"]]).all()  # type: ignore[list-item]
    concepts = [concept["text"] for concept in view.list_concepts("cocu")]
    pictured = view.list_pictured("cocu")
    assert all(set(one.given) <= set(concepts) for one in pictured)
    assert view.list_concepts("other") == []
    assert len(view.segments) == 2
    assert view.segments[0].mask.shape == view.images[0].shape[:2]
    best, other = view.segments[0].texts
    assert (best[1], other) == (pytest.approx(0.9), ("something", 0.5))


def test_the_test_split_and_failed_pairs_have_less(run):
    browser = PairBrowser(run.places)
    view = browser.read(browser.list_pairs(split="test").pairs[0])
    assert view.rules == {}
    assert len(view.list_pictured("")) == len(view.images)
    failed = next(pair for pair in browser.list_pairs().pairs if not pair.has_picture)
    view = browser.read(failed)
    assert (view.rows, view.images, view.segments) == ([], [], [])


def test_without_a_run_there_is_a_line(tmp_path):
    places = Places(tmp_path / "data", tmp_path / "models")
    assert "run `dvc repro download` first, or name the data" in PairBrowser(places).missing
    assert "no segments; run `dvc repro`" in SegmentSearch(places, None).missing


# ------------------------------------------------------------------------------------------------
# segments


def test_search_finds_what_the_command_finds(run, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for folder in run.places.data.iterdir():
        if folder.name != "segment_index":
            (data / folder.name).symlink_to(folder)
    search = SegmentSearch(Places(data), run.places.models / "use", "cpu")
    assert (search.missing, search.is_open) == ("", False)
    with pytest.raises(UserError, match="words: type what to search for"):
        search.search("  ")
    hits = search.search(" a  dog ")
    assert search.is_open
    assert [hit.hit.rank for hit in hits] == list(range(1, 21))
    assert all(hit.texts == ["a dog", "something"] for hit in hits[:5])
    assert "No model of segments" in SegmentSearch(Places(data), None).missing


# ------------------------------------------------------------------------------------------------
# the command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nowhere"], "--model: nowhere: no model"),
        (["--port", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["--port", "TAKEN"], "cannot be used (Address already in use); choose another, or 0"),
    ],
)
def test_mistakes_of_the_command_are_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["demo", *(port if word == "TAKEN" else word for word in words)]) > 0
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert message in err


def test_without_the_extra_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("captionseg.demo.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nicegui", None)
    assert cli.main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == (
        "",
        [
            "error: nicegui is not installed, and inference does without it; for this, run "
            "`pip install 'captionseg[demo]'`"
        ],
    )
