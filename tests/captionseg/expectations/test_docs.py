"""Pages must not call anybody."""

from captionseg.expectations.docs import STYLE, stripped

PAGE = """<head><link rel="x" href="https://a.b/c.css"><script src='https://a.b/c.js'></script></head>
<img class="logo"
   src="https://a.b/logo.png?d=20261121T093044.484526Z"/><script>local()</script><a href="https://a.b/">a</a>
<p id=x-fa2d888b-01e7-41ec-97b4-d5e65cee2f19 href="#x-fa2d888b-01e7-41ec-97b4-d5e65cee2f19">20261121T093044.3251Z</p>
<a href="validations/20000101T000000.000000Z/x.html">b0c4ce6a-5215-4d4c-8e62-b1abaea30fa2</a>"""


def test_what_is_remote_random_or_timed_goes_and_the_rest_stays() -> None:
    page = stripped(PAGE)
    assert "logo" not in page
    assert "c.css" not in page
    assert "c.js" not in page
    assert "<script>local()</script>" in page
    assert '<a href="https://a.b/">a</a>' in page
    assert page.count("id-0") == 2
    assert page.count("id-1") == 1
    assert ">-</p>" in page
    assert "validations/20000101T000000.000000Z/x.html" in page
    assert page.index(STYLE) < page.index("</head>")
