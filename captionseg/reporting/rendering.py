"""Pages out of the templates: base.html with the style sheet, which each page extends."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
from markupsafe import Markup, escape

from captionseg.reporting.charts import format_signed

DASH = "\N{EN DASH}"

View = dict[str, Any]
"""What a template shows of something."""

POLICY = Markup("""<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; img-src 'self' file: data:; form-action 'none'; base-uri 'none'">""")
"""Of every page: its own styles and pictures alone. No script runs, and nothing is fetched from
elsewhere. Not every browser counts what lies beside a page on disk as `self`, hence `file:`."""


def render(
    template: str,
    context: Mapping[str, Any],
    tests: Mapping[str, Callable[..., bool]] | None = None,
) -> str:
    """A page as text. All that others wrote is escaped, a name that the context lacks is an error.

    Args:
        template: name of a file in templates/.
        context: what it shows.
        tests: for `is` in the template, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("captionseg.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["policy"] = POLICY
    environment.filters |= {
        "num": format_number,
        "signed": format_signed,
        "breakable": allow_breaks,
        "count": "{:,}".format,
    }
    environment.tests |= tests or {}
    return environment.get_template(template).render(context)


def format_number(value: float | None, decimals: int = 1) -> str:
    """A number with a fixed count of decimals; a dash for none."""
    return DASH if value is None else f"{value:.{decimals}f}"


def allow_breaks(name: str) -> Markup:
    """A name that may go on in the next line after each _ and -."""
    return Markup(re.sub(r"([_-])", r"\1<wbr>", str(escape(name))))
