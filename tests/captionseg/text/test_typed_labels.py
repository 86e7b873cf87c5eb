"""Labels as people type them."""

import pytest

from captionseg.records import UserError
from captionseg.text.typed_labels import fold, read_file, read_labels


@pytest.mark.parametrize(
    ("typed", "labels"),
    [
        ("zebra, tall  grass", ["zebra", "tall grass"]),
        ("zebra\uff0cgrass\u3001sky\u060ctree", ["zebra", "grass", "sky", "tree"]),
        (
            "\u0643\u0644\u0628\u060c \u0642\u0637\u0629",
            ["\u0643\u0644\u0628", "\u0642\u0637\u0629"],
        ),
        ("\ufeffzebra\u200f, cafe\u0301\t bar\t", ["zebra", "caf\u00e9 bar"]),
        ("\U0001f993, \U0001f468\u200d\U0001f33e", ["\U0001f993", "\U0001f468\u200d\U0001f33e"]),
        ("zebra\x1b[31m", ["zebra [31m"]),
        ("zebra,", ["zebra"]),
        ("caf\udcc3\udca9", ["caf\u00e9"]),  # an argument of Python where LC_ALL is C
        ("zebra\r\ntall grass,\nsky\n", ["zebra", "tall grass", "sky"]),  # "$(cat words.txt)"
        ("\"zebra\", 'tall grass'", ["zebra", "tall grass"]),
        ("\u201czebra\u201d, \u201egrass\u201c, \u00absky\u00bb", ["zebra", "grass", "sky"]),
        ("dog's toy, 19\" monitor", ["dog's toy", '19" monitor']),
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
        (
            "zebra, zeb\u200dra, \u2764, \u2764\ufe0f, \ufb01sh, fish",
            ["zebra", "\u2764", "\ufb01sh"],
            "--labels: ignored 3 repeated ('zeb\\u200dra', '\u2764\ufe0f', 'fish')",
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
        ("zebra, \ud83d", r"'zebra, \ud83d' is not valid UTF-8"),
        ("zebra, \udcff", r"'zebra, \udcff' is not valid UTF-8"),
        ("zebra, \ufe0f", "contains no word"),
        ("['zebra', 'grass']", "is in brackets; write only words and commas"),
        ('"dog, brown", cat', "'\"dog' begins with a quote that does not end; no label holds a co"),
        (",".join(map(str, range(256))), "256 labels"),
    ],
)
def test_what_is_no_label_is_one_line(typed, says):
    with pytest.raises(UserError) as caught:
        read_labels(typed)
    assert str(caught.value).startswith("--labels: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_joiners_make_other_emoji_but_no_other_words():
    assert fold("zeb\u200dra") == fold("ZEBRA")
    assert fold("\U0001f468\u200d\U0001f33e") != fold("\U0001f468\U0001f33e")
    assert fold("cafe") != fold("caf\u00e9")


@pytest.mark.parametrize(
    "text",
    [
        "zebra\ngrass\n\n",
        "\ufeff# mine\r\n  # ours\r\nzebra\r\ngrass",
        "0: zebra\n1: grass",  # a list of classes of `captionseg evaluate`
        "1,zebra\n2,grass",
        '"zebra"\n"grass"',
        "zebra\u2028grass\x0c",
    ],
)
def test_files_of_labels(tmp_path, text, caplog):
    (tmp_path / "words.txt").write_bytes(text.encode())
    assert read_file(tmp_path / "words.txt") == ["zebra", "grass"]
    assert caplog.messages == []


def test_a_number_is_a_label_where_not_all_lines_have_one(tmp_path):
    (tmp_path / "words.txt").write_text("7: eleven\nzebra")
    assert read_file(tmp_path / "words.txt") == ["7: eleven", "zebra"]
