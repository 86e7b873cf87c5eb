"""What all pages have in common."""

import jinja2
import pytest

from captionseg.reporting.comparison.document import Document, Section, Text, render_html
from captionseg.reporting.rendering import DASH, POLICY, allow_breaks, format_number, render


@pytest.fixture
def page():
    return render_html(Document("a < b", Text(("x",)), [Section("s", "S", [])]))


def test_a_page_has_the_policy_its_title_and_the_one_style_sheet(page):
    head = page[: page.index("</head>")]
    assert page.startswith("<!DOCTYPE html>")
    assert POLICY in head
    assert "<title>captionseg: a &lt; b</title>" in head
    assert head.count("<style>") == 1
    assert 'quotes: "“" "”"' in head, "the style sheet is inserted as it is"


def test_each_page_says_which_it_is(page):
    assert '<body class="comparison">' in page


def test_a_name_that_the_context_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        render("report.html", {})


def test_numbers_and_names():
    assert [format_number(1.25, 2), format_number(None)] == ["1.25", DASH]
    assert allow_breaks("a_b-<c") == "a_<wbr>b-<wbr>&lt;c"
