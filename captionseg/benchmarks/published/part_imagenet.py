"""PartImageNet: 40 parts of 11 super-categories, found among those and the stuff of COCO (USE,
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
"""Names of COCO-Stuff before the first kind of stuff."""


@dataclass(frozen=True)
class PartImageNet:
    """Where its files lie.

    Attributes:
        title: what people call it.
        split: of the pictures that are scored.
        count: pictures of the split; another release divides them otherwise.
        fetch: archives to unpack, in words.
        source: where layout, classes and the choice of the others come from.
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
        """The pictures, of which `limit` are spread evenly over all (0 takes all, and wants all
        there are), and how many there are.

        Raises:
            UserError: for a folder that is missing or half unpacked.
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
        """The file of a picture: in the folder of the split, of all pictures, or of its class."""
        for path in self.places(home / "images", picture.name):
            if path.is_file():
                return path
        raise UserError(
            self.advice(root, f"no picture images/{self.split}/{Path(picture.name).name}")
        )

    def places(self, images: Path, name: str) -> Iterator[Path]:
        """Where a picture may lie; a name that leads out of the folder lies nowhere."""
        inside = Path(name)
        if inside.is_absolute() or ".." in inside.parts:
            return
        yield images / self.split / inside
        yield images / inside
        yield images / self.split / inside.name.split("_")[0] / inside.name

    def advice(self, root: Path, problem: str) -> str:
        """One line: what is wrong below a root, what to fetch, and what should lie where."""
        return (
            f"{self.title}: {root}: {problem}; {self.fetch}, so that {root} holds "
            f"annotations/{self.split}.json (or annotations/{self.split}/{self.split}.json) and "
            f"images/{self.split}/*.JPEG"
        )
