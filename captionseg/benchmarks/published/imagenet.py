"""ImageNet-1k: zero-shot classification of the validation pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from captionseg.benchmarks.benchmark import spread
from captionseg.benchmarks.classification import ClassificationSet, Item
from captionseg.records import UserError, one_line

CLASSES = 1000
DEVKIT = Path("ILSVRC2012_devkit_t12/data")
TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"


@dataclass(frozen=True)
class ImageNet:
    """The files of ImageNet-1k.

    Attributes:
        title: title for people.
        count: number of pictures of the split.
        fetch: archives to unpack, in words.
        source: source of layout and names.
    """

    title: str = "ImageNet-1k"
    count: int = 50_000
    fetch: str = (
        "fetch ILSVRC2012_img_val.tar (image-net.org) and unpack it in val, pictures in folders "
        "by class (val/n01440764/*.JPEG), or as they come with ILSVRC2012_devkit_t12.tar.gz "
        "unpacked beside it"
    )
    source: str = (
        "Russakovsky et al., IJCV 2015; CLIP's 1000 names, of which 998 are different; classes in "
        "the order of their WordNet ids; middle square of .875 of the short side"
    )

    def open(self, root: Path, *, limit: int = 0) -> tuple[ClassificationSet, int]:
        """Open the benchmark.

        Args:
            root: folder of its files.
            limit: maximum number of pictures, evenly spaced; 0 takes all, and requires `count`.

        Returns:
            the pictures, and the number of pictures before `limit`.

        Raises:
            UserError: for a folder that is missing or incomplete.
        """
        from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES  # seconds to import

        home = root / "val" if (root / "val").is_dir() else root
        folders = sorted(path for path in home.glob("n*") if path.is_dir())
        items = list(by_folder(folders) if folders else self.flat(home, root))
        if folders and len(folders) != CLASSES:
            raise UserError(
                self.advice(
                    root,
                    f"expected {CLASSES} folders of classes, found {len(folders)}; their order "
                    "defines the class numbers",
                )
            )
        if not items or (not limit and len(items) != self.count):
            raise UserError(
                self.advice(
                    root,
                    f"expected {self.count} pictures, found {len(items)}"
                    + ("; use --limit to score fewer" if items else ""),
                )
            )
        selected = tuple(items[number] for number in spread(len(items), limit))
        return ClassificationSet(tuple(IMAGENET_CLASSNAMES), selected), len(items)

    def flat(self, home: Path, root: Path) -> Iterator[Item]:
        """Yield the pictures of the unpacked archive, with classes of the development kit.

        Raises:
            UserError: if the kit is missing or does not match.
        """
        pictures = sorted(home.glob("ILSVRC2012_val_*.JPEG"))
        if not pictures:
            return
        kit = next(
            (place / DEVKIT for place in (root, root.parent) if (place / DEVKIT).is_dir()),
            root / DEVKIT,
        )
        numbers = self.numbers(kit, root)
        for path in pictures:
            place = path.stem.rsplit("_", 1)[1]
            if not place.isdigit() or not 1 <= int(place) <= len(numbers):
                raise UserError(
                    f"{path}: not one of the {len(numbers)} pictures with a class in {kit / TRUTH}"
                )
            yield Item(path.stem, path, numbers[int(place) - 1])

    def numbers(self, kit: Path, root: Path) -> list[int]:
        """Return the class of each picture of the archive, in the order of their names.

        Classes are in the order of WordNet ids, unlike the ids of the development kit.

        Raises:
            UserError: if the kit is missing or invalid.
        """
        from scipy.io import loadmat

        for name in (TRUTH, META):
            if not (kit / name).is_file():
                raise UserError(self.advice(root, f"no file {kit / name}"))
        try:
            table = loadmat(kit / META, squeeze_me=True, variable_names=["synsets"])["synsets"]
            words = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table}
            wnid = {number: word for number, word in words.items() if number <= CLASSES}
            order = {word: number for number, word in enumerate(sorted(wnid.values()))}
            labels = [
                order[wnid[int(line)]] for line in (kit / TRUTH).read_text(encoding="utf-8").split()
            ]
        except Exception as error:  # on damaged bytes scipy's reader raises anything
            raise UserError(
                f"{kit}: {META} and {TRUTH} are not those of ImageNet: {one_line(error)}"
            ) from None
        if len(order) != CLASSES:
            raise UserError(f"{kit / META}: expected {CLASSES} classes, found {len(order)}")
        return labels

    def advice(self, root: Path, problem: str) -> str:
        """Return an error message: the problem, and what to fetch."""
        return f"{self.title}: {root}: {problem}; {self.fetch}"


def by_folder(folders: list[Path]) -> Iterator[Item]:
    """Yield the pictures of folders, one per class, in the order of classes."""
    for number, folder in enumerate(folders):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in (".jpeg", ".jpg", ".png") and not path.name.startswith("."):
                yield Item(f"{folder.name}/{path.stem}", path, number)
