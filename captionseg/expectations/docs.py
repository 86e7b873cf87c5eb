"""Makes Data Docs self-contained and deterministic: no requests, and equal data give equal pages.

The pages that Great Expectations builds load styles, scripts and a logo (with the time in its
address) from a dozen hosts, contain random numbers and the time, and include four megabytes of
fonts and animations; without a network their index is empty. Only their content is kept.
"""

from __future__ import annotations

import re
import shutil
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from captionseg.storage.writing import atomic_path

REMOTE = [
    re.compile(r"<script\b.*?</script>", re.S),  # inline scripts need the remote ones
    re.compile(r"<label\b.*?</label>|<button\b.*?</button>", re.S),  # call scripts
    re.compile(r"<link\b[^>]*>"),
    re.compile(r"<img\b[^>]*\bsrc=[\"']https?:[^>]*>", re.S),
    re.compile(r"background: url\('https?:[^)]*\)[^;]*;"),
    re.compile(r"<footer>.*?</footer>", re.S),  # newsletter
]
RANDOM = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
TIME = re.compile(r"\b(?!20000101)\d{8}T\d{6}\.\d+Z")
POLICY = """<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; style-src 'unsafe-inline'; \
img-src data:; form-action 'none'; base-uri 'none'">"""
"""Blocks scripts and requests, whatever a page contains."""
STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1100px;
  padding: 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; }
td, th { border: 1px solid #ddd; padding: .3rem .5rem; text-align: left; }
td { overflow-wrap: anywhere; }
ol { list-style: none; padding: 0; }
.badge { background: #eee; border-radius: 3px; padding: 0 .3rem; }
.fa-check-circle::before { content: "\\2713"; color: #080; }
.fa-times::before { content: "\\2717"; color: #c00; }
.fa-exclamation-triangle::before { content: "!"; color: #c60; }
.collapse:not(:target), .cooltip .top, .modal, .navbar-brand, input, label { display: none; }
</style>
"""


def tidy(folder: Path, tables: dict[str, Any]) -> None:
    """Remove everything remote, random or time-dependent from a site's pages, and write an index.

    Args:
        folder: folder of the site.
        tables: `tables` of the report that `runner.run` returns.
    """
    shutil.rmtree(folder / "static", ignore_errors=True)
    for page in sorted(folder.rglob("*.html")):
        with atomic_path(page) as part:
            part.write_text(strip_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    with atomic_path(folder / "index.html") as part:
        part.write_text(render_index(folder, tables), encoding="utf-8")


def strip_page(html: str) -> str:
    """Remove everything remote, random or time-dependent from a page; random ids are numbered."""
    for pattern in REMOTE:
        html = pattern.sub("", html)
    numbers: dict[str, str] = {}
    html = RANDOM.sub(lambda m: numbers.setdefault(m.group(), f"id-{len(numbers)}"), html)
    return (
        TIME.sub("-", html)
        .replace("<head>", f"<head>\n{POLICY}", 1)
        .replace("</head>", f"{STYLE}</head>", 1)
    )


def render_index(folder: Path, tables: dict[str, Any]) -> str:
    """Render an index with a row per suite: its result and a link to its page."""
    rows = []
    for name, table in tables.items():
        page = next((folder / "validations" / name).rglob("*.html"))
        failed = sum(not e["success"] for e in table["expectations"]) + len(table["exceptions"])
        count = len(table["expectations"]) + len(table["exceptions"])
        mark = "fa-times" if failed else "fa-check-circle"
        link = f'<a href="{quote(str(page.relative_to(folder)))}">{escape(name)}</a>'
        cells = (f'<i class="{mark}"></i>', link, table["rows"], count, failed)
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "<tr><th></th><th>Table</th><th>Rows</th><th>Expectations</th><th>Failed</th></tr>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{POLICY}<meta '
        f'charset="UTF-8"><title>Validation</title>\n'
        f"{STYLE}</head><body>\n<h1>Validation</h1>\n"
        f"<p>Results of Great Expectations on the tables of this run.</p>\n<table>\n{head}\n"
        + "\n".join(rows)
        + "\n</table>\n</body></html>\n"
    )
