"""Data Docs made self-contained: nothing is fetched from anywhere, and equal data give equal pages.

As Great Expectations builds them, the pages load styles, scripts and a logo (with the time in its address) from a
dozen hosts, hold random numbers and the time, and come with four megabytes of fonts and animations.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from captionseg.records import atomic_path

REMOTE = [
    re.compile(r"<script[^>]*\bsrc=[\"']https?:[^>]*>\s*</script>", re.S),
    re.compile(r"<link[^>]*\bhref=[\"']https?:[^>]*>", re.S),
    re.compile(r"<img[^>]*\bsrc=[\"']https?:[^>]*>", re.S),
]
RANDOM = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
TIME = re.compile(r"\b(?!20000101)\d{8}T\d{6}\.\d+Z")
STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; }
td, th { border: 1px solid #ddd; padding: .3rem .5rem; text-align: left; }
nav ol, .breadcrumb { list-style: none; padding: 0; } .badge { background: #eee; border-radius: 3px; padding: 0 .3rem; }
.fa-check-circle::before { content: "\\2713"; color: #080; } .fa-times::before { content: "\\2717"; color: #c00; }
.fa-exclamation-triangle::before { content: "!"; color: #c60; } .collapse, .cooltip .top, .modal { display: none; }
</style>
"""


def strip(folder: Path) -> None:
    """Take out of the pages of a site what is remote, random or timed, and what only their tutorial needs."""
    shutil.rmtree(folder / "static", ignore_errors=True)
    for page in sorted(folder.rglob("*.html")):
        with atomic_path(page) as part:
            part.write_text(stripped(page.read_text(encoding="utf-8")), encoding="utf-8")


def stripped(html: str) -> str:
    """One page without anything remote, random or timed; ids that were random are numbered in order."""
    for pattern in REMOTE:
        html = pattern.sub("", html)
    numbers: dict[str, str] = {}
    html = RANDOM.sub(lambda m: numbers.setdefault(m.group(), f"id-{len(numbers)}"), html)
    return TIME.sub("-", html).replace("</head>", f"{STYLE}</head>", 1)
