"""A view of Data Docs that escapes everything that Great Expectations inserts unescaped.

The default view escapes parameters of sentences, but not table cells (observed values, examples of
failing rows), column names in the side bar, or exception messages, so that a caption could run as a
script.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from great_expectations.render import RenderedComponentContent
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import pass_context
from markupsafe import Markup

OWN = '<span class="mr-3 triangle"></span>'
"""The only element that Great Expectations inserts into its sentences."""


class EscapedView(DefaultJinjaPageView):
    """The page of a suite or its results."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.env.autoescape = True
        for name in (
            "render_string_template",
            "render_styling_from_string_template",
            "render_styling",
            "attributes_dict_to_html_string",
        ):
            self.env.filters[name] = mark_safe(self.env.filters[name])

    @pass_context
    def render_content_block(
        self,
        jinja_context: Any,
        content_block: Any = "",
        index: Any = None,
        content_block_id: Any = None,
        render_to_markdown: bool = False,
    ) -> Any:
        """HTML of a block; of what is no block, its words. See the method that it stands in for."""
        if isinstance(content_block, list):
            content_block = [
                part if is_block(part) else escape(str(part)) for part in content_block
            ]
        elif content_block is None or not is_block(content_block):
            # escaped where it is inserted
            return "" if content_block is None else str(content_block)
        made: Any = super().render_content_block(
            jinja_context, content_block, index, content_block_id, render_to_markdown
        )
        return Markup("" if made is None else made)

    def render_string_template(self, template: Any) -> Any:
        """HTML of a sentence, whose own text is escaped as well: it may be the message of an
        exception.
        """
        if not isinstance(template, dict):
            return escape(str(template))
        text = OWN.join(
            escape(part, quote=False) for part in str(template.get("template", "")).split(OWN)
        )
        return super().render_string_template({**template, "template": text})


def is_block(part: Any) -> bool:
    """Whether something has a template of its own."""
    return isinstance(part, RenderedComponentContent) or (
        isinstance(part, dict) and "content_block_type" in part
    )


def mark_safe(make: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose HTML is inserted as it stands, since what came in was escaped there."""
    return lambda *args, **kwargs: Markup(make(*args, **kwargs))
