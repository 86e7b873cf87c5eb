"""The layout of a benchmark's files, as unpacked from its archives, and the meaning of masks."""

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
from captionseg.text.typed_labels import fold

NAMES = Path(__file__).parent / "published" / "names"
NUMBER = r"^\s*(\d+)\s*:\s*"


class Item(NamedTuple):
    """One picture: its name, its file, and the file of its mask."""

    uid: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Layout:
    """The files of a benchmark. Paths are relative to its home; {} is the name of a picture.

    Attributes:
        title: title for people.
        home: folder of its archives below the user's root, which may be inside of it.
        images: files of pictures; the suffix `.*` means any of images.SUFFIXES.
        masks: files of masks: index or palette PNG, or .mat with `LabelMap`.
        names: file of class names in published/names or in home, one per line, without background.
        fetch: archives to unpack, in words.
        source: source of layout, classes and sizes.
        split: file of home with the names of the pictures; empty takes all masks.
        count: number of pictures of the split; 0 if unknown.
        background: whether the background is a class, the first.
        ids: value in mask files of each class, including a background (-1: no value); empty
            numbers classes from 0.
        void: values that are ignored.
        rest: meaning of all other values: refused, ignored or background.
        rgb: whether masks are RGB with the value in R + 256 G.
        ignore: label of ignored pixels.
        threshold: background threshold published for GroupViT, if any.
        windows: windows of models that read pixels.
        own: whether the files are a user's: the list of classes may have other formats, and there
            are remarks about them.
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
        """Required paths below the root, with * for names of pictures."""
        inside = [
            self.images,
            self.masks,
            self.split,
            "" if (NAMES / self.names).is_file() else self.names,
        ]
        return [f"{self.home}/{path}".lstrip("/").replace("{}", "*") for path in inside if path]

    def locate(self, root: Path) -> Path:
        """Find the home of the benchmark below a root, or around it.

        Raises:
            UserError: if masks or pictures are missing.
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
        """Return an error message: the problem, what to fetch, and the required paths."""
        return (
            f"{self.title}: {root}: {problem}; {self.fetch}, so that {root} holds "
            f"{', '.join(self.expected_paths)}"
        )

    def classes(self, home: Path) -> tuple[str, ...]:
        """Read the names of all classes, by label.

        Raises:
            UserError: for a file that is missing or empty, or has a name twice.
        """
        path = NAMES / self.names if (NAMES / self.names).is_file() else home / self.names
        try:
            # other separators, such as form feeds, would shift the numbers of the classes below
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}: cannot be read: {one_line(error)}; expected one class name per line"
            ) from None
        lines = clean_class_lines(path, lines) if self.own else lines
        self.check_numbers(path, lines)
        entries = [re.sub(NUMBER, "", line).strip() for line in lines]
        names = [*([BACKGROUND] if self.background else []), *filter(None, entries)]
        same = [fold(name) for name in names] if self.own else names
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
        """Check that the numbers of a file of names are in order, without gaps.

        Raises:
            UserError: naming the first wrong line.
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
        """Return the label of each raw value, [RAW] int32; -1 means refused.

        Raises:
            UserError: if the number of classes is not that of `ids`.
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
        """List all pictures with their masks, in the order of the split's list, or of names.

        Raises:
            UserError: if the list, a picture or a mask is missing, or there are none.
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
    """Return the folder that contains all files of a pattern."""
    return pattern.split("{}")[0].rstrip("/")


def list_files(home: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Yield (name, file) of all files that match a pattern, by name.

    Suffixes are case-insensitive; hidden files are ignored.
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
    """Return name -> file.

    Raises:
        UserError: for two files with the same name.
    """
    files: dict[str, Path] = {}
    for uid, path in pairs:
        if uid in files:
            raise UserError(f"{path}: same name as {files[uid].name}; remove one of them")
        files[uid] = path
    return files
