"""The shell commands that a document shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from tests.contracts.documents import Document

SHELL = {"", "bash", "sh", "console"}  # languages of blocks that hold commands
BETWEEN = r'(?:&&|\|\||;| & )(?=(?:[^"]*"[^"]*")*[^"]*$)'
"""What stands between two commands of a line, outside of quotes."""


class Command:
    """One command of a document.

    Args:
        text: as written.
        line: of the document.
        whole: whether it is complete; a mention in text may leave arguments out.
    """

    def __init__(self, text: str, line: int, *, whole: bool) -> None:
        self.text, self.line = text, line
        words = shlex.split(re.sub(r"\[(--[^\]]*)\]", r"\1", text), comments=True)
        while words and re.fullmatch(r"\w+=\S*", words[0]):  # variables before the program
            words = words[1:]
        self.words = words
        self.whole = whole and "..." not in words

    @property
    def program(self) -> str:
        return self.words[0] if self.words else ""


def commands(document: Document) -> Iterator[Command]:
    """Commands in code blocks, and in backticks if they start with a known program."""
    for fence in document.fences:
        if fence.language in SHELL:
            for line in re.sub(r"\\\n\s*", " ", fence.text).splitlines():
                for part in re.split(BETWEEN, re.sub(r"\s+#.*|^#.*", "", line)):
                    if part.strip():
                        yield Command(part.strip().rstrip("&"), fence.line, whole=True)
    for line, text in document.spans:
        if re.match(r"(make|captionseg|dvc|python -m|pip|prefect|eval) ", text):
            yield Command(text, line, whole=document.path == "README.md")
