"""Both forms of a page say the same, mark the same, and show what others wrote as it stands."""

import re

import pytest

from captionseg.reporting.comparison.document import (
    Cell,
    Chart,
    Code,
    Document,
    Figure,
    Link,
    Listing,
    Row,
    Section,
    Table,
    Text,
    escape,
    render_html,
    render_markdown,
)

HOSTILE = '<img src=x onerror="alert(1)">|`*_[a](b)\n\\ &amp; ~~'


def page(*blocks):
    return Document("A <title>", Text(("In short.",)), (Section("one", "One", blocks),))


TABLE = Table(
    "What | is <shown>",
    ("name", "word", "value", "theirs"),
    (
        Row(
            [
                Cell(HOSTILE, HOSTILE),
                Cell("a", kind="text"),
                Cell("1.0", "0.5 to 1.5", "best"),
                Cell("9.9"),
            ]
        ),
        Row([Cell("paper"), Cell("b", kind="text"), Cell("2.0"), Cell("")], theirs=True),
    ),
    frozenset({3}),
)


def table_of(text):
    """Rows of the first Markdown table: cells split at bars that are not escaped."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_table_parses_with_as_many_cells_in_every_row():
    rows = table_of(render_markdown(page(TABLE)))
    assert [len(row) for row in rows] == [4] * 4
    assert rows[0] == ["name", "word", "value", "theirs"]
    assert rows[1] == ["---", "---", "---:", "---:"]
    assert rows[2][1:] == ["a", "**1.0 (0.5 to 1.5)**", "*9.9*"]
    assert rows[3] == ["*paper*", "*b*", "*2.0*", ""]


def test_what_others_wrote_is_text():
    text, found = (
        render_html(page(TABLE, Text((HOSTILE, Code(HOSTILE))))),
        render_markdown(page(TABLE)),
    )
    assert "<img src=x" not in text
    assert "&lt;img" in text
    assert "A &lt;title&gt;" in text
    assert "<img" not in found.replace(r"\<img", "")
    assert not re.search(r"(?<!\\)[`~<]", found.replace("```", ""))


def test_escaped_is_one_line_and_can_be_undone():
    text = escape(HOSTILE)
    assert "\n" not in text
    assert re.sub(r"\\(.)", r"\1", text) == HOSTILE.replace("\n", " ")


def test_theirs_are_marked_in_rows_and_columns():
    text = render_html(page(TABLE))
    assert text.count('<tr class="theirs">') == 1
    assert '<th scope="col" class="theirs">theirs</th>' in text
    assert '<td class="theirs" data-label="theirs">9.9</td>' in text
    assert '<td class="best" data-label="value">1.0<small>0.5 to 1.5</small></td>' in text


def test_every_kind_of_block_has_both_forms():
    blocks = (
        Text(("See ", Link("index.html", "index.html"), " or ", Code("make x"), "."), small=True),
        Chart("a", "a chart", {name: {"width": 6, "height": 3} for name in ("wide", "narrow")}),
        Figure("b.jpg", "a picture", 90, 40),
        Listing("one\ntwo"),
    )
    text, found = render_html(page(*blocks)), render_markdown(page(*blocks))
    assert '<a href="index.html">index.html</a> or <code>make x</code>.' in text
    assert 'srcset="a_dark.png" media="(prefers-color-scheme: dark)"' in text
    assert text.count("<source ") == 3, "dark, narrow, and both"
    assert 'src="b.jpg" alt="a picture" width="90"\nheight="40"' in text
    assert '<pre tabindex="0">one\ntwo</pre>' in text
    assert "[index.html](index.html) or `make x`." in found
    assert "![a chart](a.png)" in found
    assert "```\none\ntwo\n```" in found
    assert "--ink" in text.split("</style>")[0]  # the report's style sheet


def test_a_row_that_does_not_fit_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="2 columns, but a row with 1"):
        Table("t", ("a", "b"), (Row([Cell("1")]),))
