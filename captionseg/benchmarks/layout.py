"""How a published benchmark lies on disk, as unpacked from its archives, and what its mask files
mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from captionseg import images
from captionseg.benchmarks.mask_files import RAW
from captionseg.benchmarks.own_folder import BACKGROUND, clean_class_lines, normalise_name
from captionseg.inference.windows import WindowParams
from captionseg.records import UserError, one_line

NAMES = Path(__file__).parent / "published" / "names"
NUMBER = r"^\s*(\d+)\s*:\s*"


class Item(NamedTuple):
    """One picture: its name, and the files that hold it and its mask."""

    uid: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Layout:
    """A benchmark as data. Paths are relative to its home; {} stands for the name of a picture.

    Attributes:
        title: what people call it.
        home: where its archives unpack to below the root that a user names; any tail of it may be
            left out.
        images: where a picture lies; a suffix `.*` takes any of images.SUFFIXES.
        masks: where its mask lies: index or palette PNG, or a .mat with `LabelMap`.
        names: of the classes but the background, one a line: a file of published/names,
            or of home where it is not one of those. Leading numbers such as `12: ` are passed over.
        fetch: archives to unpack, in words.
        source: where layout, classes and sizes come from.
        split: file of home that lists the names of the pictures; empty takes all masks.
        count: how many pictures the split has; 0 where nobody knows.
        background: whether the background is a class, the first.
        ids: raw value in mask files of each class, the background first where it is one (-1: no
            value of its own); empty counts classes from 0.
        void: raw values that are ignored.
        rest: what any other raw value is: a mistake (`refused`), not counted (`ignored`), or
            background.
        rgb: masks are RGB with the raw value in R + 256 G.
        ignore: label of ignored pixels.
        threshold: of the background, as published for GroupViT's scores; None where none was.
        windows: how models that read pixels see a picture.
        own: its files are a user's, not those of an archive: the list of classes may be written in
            other ways, and what makes a score mean something else than one may think is said.
    """

    title: str
    home: str
    images: str
    masks: str
    names: str
    fetch: str
    source: str
    split: str = ""
    count: int = 0
    background: bool = False
    ids: tuple[int, ...] = ()
    void: tuple[int, ...] = (255,)
    rest: Literal["refused", "ignored", "background"] = "refused"
    rgb: bool = False
    ignore: int = 255
    threshold: float | None = None
    windows: WindowParams = field(default_factory=lambda: WindowParams(448, 448, 224))
    own: bool = False

    @property
    def expected_paths(self) -> list[str]:
        """Paths below the root that have to be there, with * for names of pictures."""
        inside = [
            self.images,
            self.masks,
            self.split,
            "" if (NAMES / self.names).is_file() else self.names,
        ]
        return [f"{self.home}/{path}".lstrip("/").replace("{}", "*") for path in inside if path]

    def locate(self, root: Path) -> Path:
        """Its home below a root that may lie inside the home.

        Raises:
            UserError: if masks or pictures are not where they should be; it says what to fetch.
        """
        parts = [part for part in self.home.split("/") if part]
        folders = [parent(self.masks), parent(self.images)]
        for first in range(len(parts) + 1):
            home = root.joinpath(*parts[first:])
            if all((home / folder).is_dir() for folder in folders):
                return home
        missing = next(f for f in folders if not root.joinpath(*parts, f).is_dir())
        where = "/".join([*parts, missing]).rstrip("/.")
        raise UserError(
            self.advice(root, f"no folder {where}" if root.is_dir() else "no such folder")
        )

    def advice(self, root: Path, problem: str) -> str:
        """One line: what is wrong below a root, what to fetch, and what should lie where."""
        return (
            f"{self.title}: {root}: {problem}; {self.fetch}, so that {root} holds "
            f"{', '.join(self.expected_paths)}"
        )

    def classes(self, home: Path) -> tuple[str, ...]:
        """Names of all classes; index = label.

        Raises:
            UserError: for a file that is missing, empty, or names a class twice.
        """
        path = NAMES / self.names if (NAMES / self.names).is_file() else home / self.names
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}: cannot be read: {one_line(error)}; expected one class name per line"
            ) from None
        lines = clean_class_lines(path, lines) if self.own else lines
        self.check_numbers(path, lines)
        entries = [re.sub(NUMBER, "", line).strip() for line in lines]
        names = [*([BACKGROUND] if self.background else []), *filter(None, entries)]
        same = [name.casefold() for name in names] if self.own else names
        twice = sorted(
            {name for name, like in zip(names, same, strict=True) if same.count(like) > 1}
        )
        if twice or not names:
            raise UserError(
                f"{path}: "
                + (
                    f"{twice[0]!r} occurs twice"
                    if twice
                    else "has no class names; expected one per line"
                )
            )
        return tuple(names)

    def check_numbers(self, path: Path, lines: list[str]) -> None:
        """Refuses a file of names whose lines are not where their numbers, or the lines before
        them, say.

        Raises:
            UserError: naming the line.
        """
        last = max((number for number, line in enumerate(lines) if line.strip()), default=-1)
        start = None
        for number, line in enumerate(lines[: last + 1]):
            match = re.match(NUMBER, line)
            start = int(match[1]) - number if match and start is None else start
            if not line.strip() or (
                match and (int(match[1]) - number != start or (not self.ids and start))
            ):
                order = "" if self.ids else ", from 0"
                raise UserError(
                    f"{path}: line {number + 1} is {line.strip() or 'empty'!r}; expected one class "
                    f"per line in the order of their numbers{order}"
                )

    def labels(self, classes: int) -> np.ndarray:
        """[RAW] int32: label of each raw value, -1 where it is refused.

        Raises:
            UserError: if ids and classes do not fit together.
        """
        ids = np.array(self.ids or range(classes))
        if len(ids) != classes or classes > RAW:
            raise UserError(f"{self.title}: expected {len(ids)} class names, found {classes}")
        table = np.full(
            RAW, {"refused": -1, "ignored": self.ignore, "background": 0}[self.rest], np.int32
        )
        table[list(self.void)] = self.ignore
        table[ids[ids >= 0]] = np.flatnonzero(ids >= 0)
        return table

    def items(self, home: Path, root: Path) -> list[Item]:
        """All pictures with their masks, in the order of the split's list, or of names.

        Raises:
            UserError: if the list, a picture or a mask is missing, or there is none at all; it says
                what to fetch.
        """
        if self.split:
            if not (home / self.split).is_file():
                raise UserError(self.advice(root, f"no file {self.split}"))
            try:
                lines = (home / self.split).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"{home / self.split}: cannot be read: {one_line(error)}") from None
            uids = [line.split()[0] for line in lines if line.strip()]
            masks = {uid: home / self.masks.format(uid) for uid in uids}
        else:
            masks = unique_files(list_files(home, self.masks))
        if not masks:
            raise UserError(self.advice(root, f"no mask {self.masks.replace('{}', '*')}"))
        images = unique_files(
            (uid, path) for uid, path in list_files(home, self.images) if uid in masks
        )
        for what, missing in (
            ("picture", [uid for uid in masks if uid not in images]),
            ("mask", [uid for uid, path in masks.items() if not path.is_file()]),
        ):
            if missing:
                raise UserError(
                    self.advice(
                        root,
                        f"{len(missing)} of {len(masks)} {what}s are missing, such as that of "
                        f"{missing[0]}",
                    )
                )
        return [Item(uid, images[uid], mask) for uid, mask in masks.items()]


def parent(pattern: str) -> str:
    """The folder that all files of a pattern lie in, or below."""
    return pattern.split("{}")[0].rstrip("/")


def list_files(home: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """(name, file) of every file that a pattern fits, by name; capital letters of suffixes make no
    difference, hidden files are passed over.
    """
    folder, after = home / parent(pattern), pattern.split("{}")[1].lower()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        end = path.suffix.lower() if after == ".*" else after
        if (
            path.name.startswith(".")
            or not name.lower().endswith(end)
            or (after == ".*" and end not in images.SUFFIXES)
        ):
            continue
        if path.is_file():
            yield normalise_name(name[: len(name) - len(end)]), path


def unique_files(pairs: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """The file of each name.

    Raises:
        UserError: for a second one.
    """
    files: dict[str, Path] = {}
    for uid, path in pairs:
        if uid in files:
            raise UserError(f"{path}: same name as {files[uid].name}; remove one of them")
        files[uid] = path
    return files
