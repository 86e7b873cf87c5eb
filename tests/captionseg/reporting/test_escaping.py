"""What others wrote (captions, names, errors) is shown on pages and is no part of them; whatever
slips through runs no script."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mistune
import pandas as pd
import pytest

from captionseg.benchmarks.params import EvaluateParams
from captionseg.gate import findings_table as gate
from captionseg.reporting import rendering
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
    render_html,
    render_markdown,
)
from captionseg.reporting.params import ReportParams
from captionseg.reporting.report import Outputs, write_report
from captionseg.tracking.run_comparison import Table as Runs
from captionseg.tracking.run_comparison import to_markdown as runs_markdown
from tests.imported_late import import_late

quiet = import_late("captionseg.expectations.quiet")
runner = import_late("captionseg.expectations.runner")
suites = import_late("captionseg.expectations.suite")

EVIL = (
    "<evil-tag>\"'></textarea></style></title></script><script>document.title='ran'</script>"
    "<img src=x onerror=\"document.title='ran'\"> {{ 7*7 }} $v__0 "
)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Elements(HTMLParser):
    """The names of all elements, the attributes that run something, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names, self.runs, self.words = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.names.add(tag)
        self.runs += [
            (tag, name)
            for name, value in attrs
            if name.startswith("on") or str(value).strip().lower().startswith("javascript:")
        ]

    def handle_data(self, data: str) -> None:
        self.words += data


def data_docs(root: Path) -> list[Path]:
    expect = quiet().expect
    frame = pd.DataFrame(
        {
            "uid": [EVIL + str(i) for i in range(3)],
            "caption": [EVIL * 2] * 3,
            "status": [EVIL] * 2 + ["success"],
            "wanted": ["x"] * 3,
            EVIL: [1, 2, 3],
        }
    )
    found = [
        suites().Suite.of(
            "pairs",
            frame,
            [
                expect.ExpectColumnValueLengthsToBeBetween(column="caption", max_value=3),
                expect.ExpectColumnValuesToMatchRegex(column="uid", regex="^[0-9a-f]{32}$"),
                expect.ExpectColumnValuesToBeInSet(
                    column="status", value_set=["success", EVIL + "!"]
                ),
                expect.ExpectColumnDistinctValuesToBeInSet(column="status", value_set=["success"]),
                expect.ExpectColumnPairValuesToBeEqual(column_A="caption", column_B="wanted"),
                expect.ExpectColumnValuesToBeBetween(column=EVIL, max_value=1),
                expect.ExpectColumnMaxToBeBetween(column=EVIL + "none", min_value=0),
                expect.ExpectTableColumnsToMatchSet(column_set=["a"]),
            ],
        )
    ]
    runner().run(found, root / "docs", examples=2)
    return sorted((root / "docs").rglob("*.html"))


def everywhere(value: Any, key: str = "") -> Any:
    """The same, with EVIL in front of every text in it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value, **{f.name: everywhere(getattr(value, f.name)) for f in dataclasses.fields(value)}
        )
    if isinstance(value, dict):
        return {name: everywhere(inner, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return (
            type(value)(everywhere(inner) for inner in value)
            if key not in ("charts", "caption")
            else value
        )
    return EVIL + value if isinstance(value, str) and key != "split" else value


def document() -> Document:
    block = [
        Text((EVIL, Code(EVIL), Link(EVIL, EVIL)), small=True),
        Figure(EVIL, EVIL, 1, 1),
        Chart(EVIL, EVIL, {name: {"width": 1, "height": 1} for name in ("wide", "narrow")}),
        Listing(EVIL + "```"),
        Table(EVIL, [EVIL, EVIL], [Row([Cell(EVIL, EVIL), Cell(EVIL, EVIL, "text")])]),
    ]
    return Document(EVIL, Text((EVIL,)), [Section(EVIL, EVIL, block)])


MADE: dict[str, Path] = {}


@pytest.fixture
def pages(folders, recipes, fake_encoder, tmp_path_factory, monkeypatch) -> dict[str, Path]:
    """Every page there is, of data that are all EVIL; made once."""
    if not MADE:
        root = tmp_path_factory.mktemp("pages")
        monkeypatch.setattr(
            "captionseg.reporting.report.render",
            lambda name, context: rendering.render(name, everywhere(dict(context))),
        )
        out = Outputs(
            root / "metrics.json",
            root / "summary.json",
            root / "plots",
            root / "pictures",
            root / "index.html",
            root / "data.html",
        )
        write_report(
            folders,
            out,
            ReportParams(),
            recipes=recipes,
            gate={"rule": "recipes.cocu-mil.drawn.miou >= 3"},
            scored=EvaluateParams(bootstrap=5),
            seed=0,
        )
        (root / "comparison.html").write_text(render_html(document()))
        MADE.update({name: root / f"{name}.html" for name in ("index", "data", "comparison")})
        MADE.update({f"docs {path.parent.name}": path for path in data_docs(root)})
    return MADE


def test_no_element_comes_from_data(pages):
    assert len(pages) == 6
    for name, path in pages.items():
        found = Elements(path.read_text())
        assert not found.names & {"script", "evil-tag", "iframe", "object", "embed", "base"}, name
        assert not found.runs, name
        assert "Content-Security-Policy" in path.read_text().split("</head>")[0], name
        if name not in ("docs docs", "docs expectations"):
            assert "<evil-tag>" in found.words, f"{name}: shown as it was written"


def browser(url: str, profile: Path) -> str:
    """The page as a browser has it when its scripts have run."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_no_script_runs_in_a_browser(pages, tmp_path):
    """The first two say that the rest can fail: the script runs where nothing is escaped, but not
    under the policy.
    """
    open_, closed = (tmp_path / f"{name}.html" for name in ("open", "closed"))
    open_.write_text(f"<html><head><title>fine</title></head><body>{EVIL}</body></html>")
    closed.write_text(
        f"<html><head>{rendering.POLICY}<title>fine</title></head><body>{EVIL}</body></html>"
    )
    ran = {
        name: "<title>ran" in browser(path.as_uri(), tmp_path / "profile")
        for name, path in {"open": open_, "closed": closed, **pages}.items()
    }
    assert ran == dict.fromkeys(ran, False) | {"open": True}


def test_markdown_makes_nothing_of_names():
    """By a reader of Markdown with tables and addresses that become links, as hosts of repositories
    have them.
    """
    evil = (
        EVIL + "|](x) ![a](https://b.c/d.png) https://b.c www.b.c a@b.c `code` *bold* $x$ "
        "~~gone~~\n# head\n- item"
    )
    block = [
        Text((evil, Code(evil))),
        Listing(evil + "\n```\n# head"),
        Table(evil, [evil, "n"], [Row([Cell(evil), Cell("1")])]),
    ]
    found = [
        render_markdown(Document(evil, Text((evil,)), [Section("s", evil, block)])),
        runs_markdown(Runs([evil], {"id": [evil]}, {evil: [evil]}, {}, 0)),
        gate.render_comment(
            [gate.Section(evil, evil, ("rule", "value"), [gate.Finding("MISS", (evil, "1"))])]
        ),
    ]
    reader = mistune.create_markdown(escape=False, plugins=["table", "url", "strikethrough"])
    for text in found:
        names = Elements(reader(text)).names
        assert names <= {
            "h1",
            "h2",
            "h3",
            "p",
            "code",
            "pre",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "strong",
            "em",
            "details",
            "summary",
        }, names
        assert reader(text).count("<h1>") <= 1
