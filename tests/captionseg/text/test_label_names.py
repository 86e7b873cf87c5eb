"""Several names of one label, of any script."""

from __future__ import annotations

import pytest

from captionseg.records import UserError
from captionseg.text.label_names import LabelNames, split_names


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("zebra", ["zebra"]),
        ("person; people;man ", ["person", "people", "man"]),
        (" ; tall\u200b  grass;", ["tall grass"]),
        ("Cat; cat; kitten", ["Cat", "kitten"]),
        ("\u4eba\uff1b\u7537\u4eba", ["\u4eba", "\u7537\u4eba"]),
    ],
)
def test_names(label, names):
    assert split_names(label) == names


def test_each_name_knows_its_label():
    names = LabelNames.read(["person; people", "sky", "man;woman;child"])
    assert names.labels == ("person", "sky", "man")
    assert names.names == ("person", "people", "sky", "man", "woman", "child")
    assert names.owner.tolist() == [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize("label", ["", " ", ";", "-; a", None, 3])
def test_what_is_no_word_is_refused(label):
    with pytest.raises(UserError, match="labels: "):
        split_names(label)


@pytest.mark.parametrize("labels", ["zebra", {"zebra"}, frozenset(["zebra"]), None, 3])
def test_what_is_no_list_is_refused(labels):
    with pytest.raises(UserError, match=r"labels: expected a list such as .*, found "):
        LabelNames.read(labels)


def test_whatever_has_an_order_is_read():
    assert LabelNames.read(label for label in ("sky", "dog")).labels == ("sky", "dog")
    assert LabelNames.read({"sky": 1, "dog": 2}).labels == ("sky", "dog")


def test_a_name_of_two_labels_is_refused():
    with pytest.raises(UserError, match="'Man' is a name of 'person' and again of 'Man'"):
        LabelNames.read(["person; man", "Man"])


@pytest.mark.parametrize("other", ["\uff46ish", "\ufb01sh", "FISH", "fi\u200bsh", "fi\u200dsh"])
def test_names_that_look_alike_are_one(other):
    with pytest.raises(UserError, match="is a name of 'fish' and again of"):
        LabelNames.read(["fish", other])
    assert split_names(f"fish; {other}") == ["fish"]
