"""Pages must not call anybody, and must be found from the index."""

from pathlib import Path

from captionseg.expectations.docs import STYLE, strip_page, tidy

PAGE = """<head><link rel="x" href="https://a.b/c.css"><script src='https://a.b/c.js'></script>
<style>a { background: url('https://a.b/back.png') 0 0; color: red }</style></head>
<img class="logo"
   src="https://a.b/logo.png?d=20261121T093044.484526Z"/><script>$('#x').go()</script><a href="https://a.b/">a</a>
<p id=x-fa2d888b-01e7-41ec-97b4-d5e65cee2f19 href="#x-fa2d888b-01e7-41ec-97b4-d5e65cee2f19">\
20261121T093044.3251Z</p>
<a href="validations/20000101T000000.000000Z/x.html">b0c4ce6a-5215-4d4c-8e62-b1abaea30fa2</a>
<footer>Subscribe <a href="https://a.b/news">x</a></footer>"""


def test_what_is_remote_random_or_timed_goes_and_the_rest_stays() -> None:
    page = strip_page(PAGE)
    for gone in ("logo", "c.css", "c.js", "back.png", "<script", "news", "2026"):
        assert gone not in page
    assert '<a href="https://a.b/">a</a>' in page  # followed only on a click
    assert "color: red" in page
    assert page.count("id-0") == 2
    assert page.count("id-1") == 1
    assert "validations/20000101T000000.000000Z/x.html" in page
    assert page.index(STYLE) < page.index("</head>")


def test_the_index_leads_to_every_page(tmp_path: Path) -> None:
    for name in ("pairs", "a & b"):
        page = tmp_path / "validations" / name / "validate" / "x y.html"
        page.parent.mkdir(parents=True)
        page.write_text(PAGE)
    (tmp_path / "static").mkdir()
    good = {"rows": 7, "expectations": [{"success": True}], "exceptions": []}
    bad = {"rows": 1, "expectations": [{"success": True}, {"success": False}], "exceptions": [{}]}
    tidy(tmp_path, {"pairs": good, "a & b": bad})
    index = (tmp_path / "index.html").read_text()
    assert (
        'fa-check-circle"></i></td><td><a '
        'href="validations/pairs/validate/x%20y.html">pairs</a></td><td>7' in index
    )
    assert (
        'validations/a%20%26%20b/validate/x%20y.html">a &amp; '
        "b</a></td><td>1</td><td>3</td><td>2</td>" in index
    )
    assert not (tmp_path / "static").exists()
    assert "c.js" not in (tmp_path / "validations" / "pairs" / "validate" / "x y.html").read_text()
