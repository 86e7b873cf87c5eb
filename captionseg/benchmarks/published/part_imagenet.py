"""PartImageNet: 40 parts of 11 super-categories, detected among these and COCO's stuff (USE,
section 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from captionseg.benchmarks.benchmark import spread
from captionseg.benchmarks.coco_json import AnnotatedPicture, read_instances
from captionseg.benchmarks.layout import NAMES
from captionseg.benchmarks.parts import Item, Parts
from captionseg.records import UserError

WHOLES = (
    "quadruped",
    "biped",
    "fish",
    "bird",
    "snake",
    "reptile",
    "car",
    "bicycle",
    "boat",
    "aeroplane",
    "bottle",
)
THINGS = 80
"""Number of names in COCO-Stuff before the first class of stuff."""


@dataclass(frozen=True)
class PartImageNet:
    """The files of PartImageNet.

    Attributes:
        title: title for people.
        split: split that is scored.
        count: number of pictures of the split, which differs in another release.
        fetch: archives to unpack, in words.
        source: source of layout and classes.
    """

    title: str = "PartImageNet"
    split: str = "val"
    count: int = 2957
    fetch: str = "fetch PartImageNet (github.com/TACJu/PartImageNet) and unpack it there"
    source: str = (
        "He et al., ECCV 2022, split and classes as in USE, sections 4.1 and 4.4; parts are "
        "prompted by the names of the file in lower case, its `tier` as tire, among 11 "
        "super-categories and COCO-Stuff's 91 kinds of stuff"
    )

    def open(self, root: Path, *, limit: int = 0) -> tuple[Parts, int]:
        """Open the benchmark.

        Args:
            root: folder of its files.
            limit: maximum number of pictures, evenly spaced; 0 takes all, and requires `count`.

        Returns:
            the pictures, and the number of pictures before `limit`.

        Raises:
            UserError: for a folder that is missing or incomplete.
        """
        places = [
            home / "annotations" / name
            for home in (root, root / "PartImageNet")
            for name in (f"{self.split}/{self.split}.json", f"{self.split}.json")
        ]
        file = next((path for path in places if path.is_file()), None)
        if file is None:
            raise UserError(self.advice(root, f"no file annotations/{self.split}.json"))
        categories, pictures = read_instances(file)
        if not limit and len(pictures) != self.count:
            raise UserError(
                self.advice(
                    root,
                    f"expected {self.count} pictures, found {len(pictures)}; use --limit to score "
                    "fewer",
                )
            )
        home = next(home for home in (root / "PartImageNet", root) if home in file.parents)
        items = [Item(self.picture(home, picture, root), picture.instances) for picture in pictures]
        parts = tuple(name.lower().replace("tier", "tire") for name in categories)
        stuff = (NAMES / "coco_stuff.txt").read_text(encoding="utf-8").splitlines()[THINGS:]
        return Parts(
            (*parts, *WHOLES, *stuff),
            len(parts),
            tuple(items[n] for n in spread(len(items), limit)),
            file,
        ), len(items)

    def picture(self, home: Path, picture: AnnotatedPicture, root: Path) -> Path:
        """Find the file of a picture: in the folder of the split, of all pictures, or of its class.

        Raises:
            UserError: if there is none.
        """
        for path in self.places(home / "images", picture.name):
            if path.is_file():
                return path
        raise UserError(
            self.advice(root, f"no picture images/{self.split}/{Path(picture.name).name}")
        )

    def places(self, images: Path, name: str) -> Iterator[Path]:
        """Yield possible files of a picture; none for a name outside of the folder."""
        inside = Path(name)
        if inside.is_absolute() or ".." in inside.parts:
            return
        yield images / self.split / inside
        yield images / inside
        yield images / self.split / inside.name.split("_")[0] / inside.name

    def advice(self, root: Path, problem: str) -> str:
        """Return an error message: the problem, what to fetch, and the required files."""
        return (
            f"{self.title}: {root}: {problem}; {self.fetch}, so that {root} holds "
            f"annotations/{self.split}.json (or annotations/{self.split}/{self.split}.json) and "
            f"images/{self.split}/*.JPEG"
        )
