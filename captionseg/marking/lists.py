"""Lists of words and phrases, in files with a line each."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from captionseg.records import UserError


def read_packaged(name: str) -> list[str]:
    """Lines of a list that lies beside this file."""
    return split_lines((resources.files("captionseg.marking") / name).read_text(encoding="utf-8"))


def read_file(path: str, param: str) -> list[str]:
    """Lines of a user's list.

    Args:
        path: of the file.
        param: the param that names it.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return split_lines(Path(path).expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{param}: {path} cannot be read: {error}") from None


def split_lines(text: str) -> list[str]:
    """Lines in lower case with single blanks, without empty ones and # comments."""
    lines = (" ".join(line.lower().split()) for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
