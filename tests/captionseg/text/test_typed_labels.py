"""Labels as people type them."""

import pytest

from captionseg.records import UserError
from captionseg.text.typed_labels import read_labels


@pytest.mark.parametrize(
    ("typed", "labels"),
    [
        ("zebra, tall  grass", ["zebra", "tall grass"]),
        ("zebra\uff0cgrass\u3001sky\u060ctree", ["zebra", "grass", "sky", "tree"]),
        (
            "\u0643\u0644\u0628\u060c \u0642\u0637\u0629",
            ["\u0643\u0644\u0628", "\u0642\u0637\u0629"],
        ),
        ("\ufeffzebra\u200f, cafe\u0301\n bar\t", ["zebra", "caf\u00e9 bar"]),
        ("\U0001f993, \U0001f468\u200d\U0001f33e", ["\U0001f993", "\U0001f468\u200d\U0001f33e"]),
        ("zebra\x1b[31m", ["zebra [31m"]),
        ("zebra,", ["zebra"]),
    ],
)
def test_labels_in_any_script_without_a_word(typed, labels, caplog):
    assert read_labels(typed) == labels
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("typed", "labels", "said"),
    [
        ("zebra,,grass", ["zebra", "grass"], "--labels: ignored 1 empty"),
        ("Zebra, zebra ,ZEBRA", ["Zebra"], "--labels: ignored 2 repeated ('zebra', 'ZEBRA')"),
        (
            "caf\u00e9, cafe\u0301, \uff43\uff41\uff46\u00e9",
            ["caf\u00e9"],
            "--labels: ignored 2 repeated ('caf\u00e9', '\uff43\uff41\uff46\u00e9')",
        ),
        (", a, ,a", ["a"], "--labels: ignored 2 empty and 1 repeated ('a')"),
    ],
)
def test_what_is_left_out_is_said_in_one_line(typed, labels, said, caplog):
    assert read_labels(typed) == labels
    assert caplog.messages == [said]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "give at least one"),
        (" ,\u3001 \u200b", "give at least one"),
        ("zebra, ---", "'---' contains no word"),
        ("zebra, \udcff", r"'zebra, \udcff' is not valid UTF-8"),
        (",".join(map(str, range(256))), "256 labels"),
    ],
)
def test_what_is_no_label_is_one_line(typed, says):
    with pytest.raises(UserError) as caught:
        read_labels(typed)
    assert str(caught.value).startswith("--labels: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
