"""Renders pages from the templates; each extends base.html, which includes the style sheet."""

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
"""Content policy of every page: own styles and pictures only, no scripts, no requests elsewhere.
`file:` is needed because some browsers do not count files next to a local page as `self`.
"""


def render(
    template: str,
    context: Mapping[str, Any],
    tests: Mapping[str, Callable[..., bool]] | None = None,
) -> str:
    """Render a page. Values are escaped; a name missing from the context is an error.

    Args:
        template: name of a file in templates/.
        context: values by name.
        tests: functions for `is` in the template, by name.
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
    """Format a number with fixed decimals; None as a dash."""
    return DASH if value is None else f"{value:.{decimals}f}"


def allow_breaks(name: str) -> Markup:
    """Allow line breaks in a name after each _ and -."""
    return Markup(re.sub(r"([_-])", r"\1<wbr>", str(escape(name))))
