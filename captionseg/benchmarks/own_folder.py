"""A user's folder as a benchmark: reads lists of classes in common formats, and warns about files
that affect the meaning of scores.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from captionseg.images import is_turned
from captionseg.inference.protocols import BACKGROUND
from captionseg.records import UserError, one_line
from captionseg.text import typed_labels
from captionseg.text.typed_labels import clean

NUMBERED = re.compile(r"^\s*[\"']?(\d+)[\"']?(?:\s*[:;,.)=|\t]\s*|\s+)(?=\S)")
IGNORE = re.compile(r"^\s*#?\s*ignored?\s*[:=]\s*(.*)$", re.IGNORECASE)
HEADS = {
    "name",
    "names",
    "class",
    "classes",
    "class name",
    "class_name",
    "classname",
    "label",
    "labels",
    "label name",
    "category",
    "categories",
    "title",
}
NO_CLASS = {
    "void",
    "ignore",
    "ignored",
    "unlabeled",
    "unlabelled",
    "unknown",
    "other",
    "none",
    "dontcare",
}
LABELME = "__ignore__"  # labelme's first line, which has no number


def clean_class_lines(path: Path, lines: Sequence[str]) -> list[str]:
    """Remove comments (#), heading, quotes and invisible characters from a list of classes, and
    write numbers as `0: name`.

    Numbers are recognised if all lines, or all but a heading, start with one, followed by a comma,
    semicolon, tab, dot or space.

    Raises:
        UserError: for a heading without numbers below, for further columns, and if all names are on
            one line.
    """
    lines = [
        line
        for line in lines
        if not line.lstrip().startswith("#") and not IGNORE.match(line) and line.strip() != LABELME
    ]
    filled = [line for line in lines if line.strip()]
    rest = filled[1:] if filled and not NUMBERED.match(filled[0]) else filled
    if rest and all(NUMBERED.match(line) for line in rest):
        if rest is not filled:  # a heading such as id,name
            lines = lines[lines.index(filled[0]) + 1 :]
        lines = [NUMBERED.sub(r"\1: ", line) if line.strip() else line for line in lines]
    elif filled and strip_quotes(filled[0]).casefold() in HEADS:
        raise UserError(
            f"{path}: line 1 is {filled[0].strip()!r}, which looks like a heading, not class 0; "
            "delete it, or put # in front"
        )
    names = [re.sub(r"^\s*\d+\s*:\s*", "", line) for line in lines]
    for line, name in zip(lines, names, strict=True):
        columns = any(part.strip().isdigit() for part in re.split(r"[,;\t]", name)[1:])
        if columns or "\0" in name or name.lstrip().startswith(("[", "{", "<", "- ")):
            raise UserError(
                f"{path}: {one_line(line)!r} is more than a class name; expected one class per "
                "line in the order of their numbers, from 0"
            )
    if len(filled) == 1 and len(re.split(r"[,;\t]", names[lines.index(filled[0])])) > 2:
        raise UserError(f"{path}: all names are on one line; expected one class per line, from 0")
    return [
        line[: len(line) - len(name)] + strip_quotes(name)
        for line, name in zip(lines, names, strict=True)
    ]


def strip_quotes(name: str) -> str:
    """Remove quotes around a name, and normalise the spelling of `background`."""
    name = typed_labels.strip_quotes(clean(name))
    return BACKGROUND if name.strip("_ -").casefold() == BACKGROUND else name


def read_ignored_values(path: Path) -> tuple[int, ...] | None:
    """Read the values of a line such as `# ignore: 0, 254` in a list of classes;
    None without one.
    """
    try:
        lists = [
            match[1]
            for line in path.read_text(encoding="utf-8-sig").splitlines()
            if (match := IGNORE.match(line))
        ]
    except (OSError, UnicodeDecodeError):  # reported when the names are read
        return None
    return parse_values(", ".join(lists), f"{path}: ignore") if lists else None


def parse_values(text: str, what: str) -> tuple[int, ...]:
    """Parse values of masks, separated by commas or spaces.

    Raises:
        UserError: for anything else; the message begins with `what`.
    """
    parts = text.replace(",", " ").split()
    if not parts or any(
        not part.isascii() or not part.isdigit() or int(part) >= 2**16 for part in parts
    ):
        raise UserError(
            f"{what}: {one_line(text)!r} is not a list of mask values, 0 to 65535, such as 0,255"
        )
    return tuple(dict.fromkeys(map(int, parts)))


def about_names(names: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """Return remarks about names of classes.

    Args:
        names: names of scored classes.
        left_out: names of classes whose pixels are ignored.
    """
    remarks = []
    if left_out:
        remarks.append(
            f"{join_names(left_out)}: not scored, because pixels with its value are ignored"
        )
    if BACKGROUND in names[1:]:
        remarks.append("background is not the first class, so it is prompted like any other word")
    if several := [name for name in names if ";" in name]:
        remarks.append(
            f"{join_names(several)}: prompted as one text; only `captionseg segment` takes several "
            "names of a label"
        )
    if odd := [name for name in names if name.strip("_ -").casefold() in NO_CLASS]:
        remarks.append(
            f"{join_names(odd)}: scored like any other class; use --ignore to ignore pixels with "
            "its value"
        )
    return remarks


def about_files(
    home: Path, patterns: Sequence[str], used: Iterable[Path], images: dict[str, Path]
) -> list[str]:
    """Return remarks about files that are not scored.

    Args:
        home: folder of the benchmark.
        patterns: patterns of pictures and masks.
        used: files that are scored.
        images: all pictures by name.
    """
    used = set(used)
    alone = [path.name for path in images.values() if path not in used]
    known = used | set(images.values())
    unused = [
        path
        for pattern in patterns
        for path in sorted((home / pattern.split("{}")[0]).rglob("*"))
        if path not in known and path.is_file()
    ]
    other = [
        str(path)
        for path in (path.relative_to(home) for path in unused)
        if not any(part.startswith(".") for part in Path(path).parts)
    ]
    groups = ((alone, "picture", "without a mask: not scored"), (other, "file", "passed over"))
    return [
        f"{len(names)} {what}{'s' * (len(names) > 1)} {more}, such as {one_line(names[0])}"
        for names, what, more in groups
        if names
    ]


def about_turned(pictures: Sequence[Path]) -> list[str]:
    """Return a remark about pictures whose masks may be of the picture as it lies in the file."""
    turned = [path.name for path in pictures if is_turned(path)]
    if not turned:
        return []
    return [
        f"{len(turned)} of {len(pictures)} pictures are turned upright by their EXIF orientation, "
        f"such as {one_line(turned[0])}; their masks have to be upright too"
    ]


def join_names(names: Sequence[str], most: int = 10) -> str:
    """Join names on one line; of many only the first."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def normalise_name(name: str) -> str:
    """Normalise the name of a file to composed Unicode (NFC), because some systems decompose it."""
    return unicodedata.normalize("NFC", name)
