"""Text of others stays text: read by a Markdown reader, nothing but paragraphs comes out."""

import mistune
import pytest

from captionseg.storage.markdown import escape, fence, format_table

READER = mistune.create_markdown(escape=False, plugins=["table", "url", "strikethrough"])


@pytest.mark.parametrize(
    "text",
    [
        "a|b\n*c* <d> e_f",
        "<b>x</b>",
        "![a](b) [c](d)",
        "https://b.c/d",
        "HTTPS://b.c",
        "www.b.c",
        "me@b.c",
        "mailto:a",
        "`code`",
        "~~x~~",
        "# head",
        "- item",
        "+ item",
        "12. item",
        "3) item",
        "&amp;",
        "\\*",
        "[a]: https://b.c",
    ],
)
def test_nothing_is_made_of_it(text):
    shown = " ".join(text.split())
    page = READER(escape(text))
    assert page.startswith("<p>")
    assert page.count("<") == 2
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        page = page.replace(entity, sign)
    assert page == f"<p>{shown}</p>\n"


def test_numbers_and_names_stay_readable():
    assert [escape(text) for text in ("-3.2", "+11.5", "-", "3.5", "cocu-mil", "a:b")] == [
        "-3.2",
        "+11.5",
        "-",
        "3.5",
        "cocu-mil",
        "a:b",
    ]
    assert escape("$x$") == r"\$x\$"


def test_a_block_of_code_ends_where_it_is_ended():
    assert fence("a\n") == "```\na\n```"
    assert READER(fence("a\n````\n# b")) == "<pre><code>a\n````\n# b\n</code></pre>\n"


def test_a_name_stays_a_name_on_one_line():
    assert escape("a|b\n*c* <d> e_f") == r"a\|b \*c\* \<d\> e\_f"


def test_words_start_at_the_left_and_no_cell_is_empty():
    assert format_table(["name", "n"], [["a", "1"], ["b", ""]]) == [
        "| name | n |",
        "| --- | ---: |",
        "| a | 1 |",
        "| b |   |",
    ]
