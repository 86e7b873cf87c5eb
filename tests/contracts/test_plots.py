"""The page of `dvc plots show` asks no other machine for anything."""

from __future__ import annotations

import configparser
import re
from html.parser import HTMLParser
from pathlib import Path

from dvc_render.html import HTML

ROOT = Path(__file__).parents[2]


class Sources(HTMLParser):
    """What elements of a page load, and its policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads, self.policy, self.scripts = [], "", 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = dict(attrs)
        self.loads += [found[name] for name in ("src", "href", "srcset") if name in found]
        self.scripts += tag == "script"
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]


def test_scripts_are_in_the_page_that_dvc_fills():
    config = configparser.ConfigParser()
    config.read_string(re.sub(r"^\s+", "", (ROOT / ".dvc" / "config").read_text(), flags=re.M))
    page = HTML((ROOT / ".dvc" / config["plots"]["html_template"]).read_text(encoding="utf-8"))
    page.with_scripts('<script src="https://example.org/vega"></script>').with_element(
        "<p>plot</p>"
    )
    made = page.embed()
    found = Sources(made)
    assert "<p>plot</p>" in made
    assert found.loads == []
    assert found.scripts == 5, (
        "Vega, Vega-Lite, its interpreter, their licence, and what calls them"
    )
    assert found.policy.startswith("default-src 'none'; script-src 'unsafe-inline';")
    assert "unsafe-eval" not in found.policy
    assert "Regents" in made or "University of Washington Interactive Data Lab" in made
