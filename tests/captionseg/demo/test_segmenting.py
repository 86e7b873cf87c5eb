"""Masks as the page draws them, and words that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from captionseg.api.pictures import Pixels
from captionseg.api.segmentation import Segmentation
from captionseg.demo import segmenting
from captionseg.demo.model_pool import ModelPool, list_models
from captionseg.demo.segmenting import Shown
from captionseg.records import UserError


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
    model = ModelPool(list_models((), run.places.models), "cpu").get("first-mil")
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16], image[:, 16:] = (200, 40, 40), (160, 160, 20)
    one = segmenting.segment(model, "first-mil", Pixels(image, "x.png"), "dog; hound, grass")
    assert (one.result.mask == model.segment(image, ["dog; hound", "grass"]).mask).all()
    assert one.result.labels == ("dog", "grass")
    assert (one.model, one.result.name) == ("first-mil", "x.png")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "words: type at least one"),
        (" , ", "words: type at least one"),
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
