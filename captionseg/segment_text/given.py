"""Reads boxes or masks with texts from files: Visual Genome's layouts, COCO's and SA-1B's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from captionseg.records import UserError, one_line
from captionseg.segment_text.rle import code_polygons
from captionseg.storage.json_items import JsonItems

TEXTS = ("phrase", "caption", "text", "ref")
"""Keys of an annotation that may hold its text; without any, it is named by its category."""

FIELD = "segment_text.precomputed.file"


class Given(NamedTuple):
    """A box or a mask with a text.

    Attributes:
        text: as written.
        kind: phrase, for names of classes and of things; expression, for descriptions.
        box: x0, y0, x1, y1 in pixels of the original picture.
        rle: compressed RLE of the mask; empty if there is only a box.
        size: height and width of the picture of the mask; (0, 0) if there is only a box.
    """

    text: str
    kind: str
    box: tuple[float, float, float, float]
    rle: str = ""
    size: tuple[int, int] = (0, 0)


def read_given(path: Path) -> dict[str, list[Given]]:
    """Read a file, or a folder of SA-1B's files; picture -> what is said of it.

    A picture is called by the stem of its file name, such as 000000391895, or by its number in
    Visual Genome. Layouts, which are told apart by their keys:

    - Visual Genome's `region_descriptions.json` ({id, regions: [{phrase, x, y, width, height}]},
      descriptions) and `objects.json` ({image_id, objects: [{names, x, y, w, h}]}, names);
    - COCO's ({images, annotations, categories}): a box, and a mask where there is a
      `segmentation`, named by `phrase`, `caption`, `text` or `ref`, else by its category;
    - SA-1B's ({image, annotations}) with a key `texts`, as `captionseg export-segments` writes
      it. Masks without texts are left out.

    Raises:
        UserError: if it cannot be read, is of no such layout, or says nothing.
    """
    try:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        found: dict[str, list[Given]] = defaultdict(list)
        for file in files:
            for picture, one in _read_file(file):
                found[picture].append(one)
    except OSError as error:
        raise UserError(f"{FIELD}: {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{FIELD}: {file}: not a layout of Visual Genome, COCO or SA-1B: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from None
    if not found:
        raise UserError(
            f"{FIELD}: {path} has no box and no mask with a text; give a file of Visual "
            "Genome's, COCO's or SA-1B's layout"
        )
    return dict(found)


def _read_file(file: Path) -> Iterator[tuple[str, Given]]:
    lists: dict[str, list[Any]] = defaultdict(list)
    with file.open("rb") as stream:
        for key, item in JsonItems(stream):
            if not key:
                yield from _read_visual_genome(item)
            elif key in ("images", "annotations", "categories", "image"):
                lists[key] += item if isinstance(item, list) else [item]
    if "image" in lists:
        yield from _read_sa1b(lists["image"][0], lists["annotations"])
    elif lists:
        yield from _read_coco(lists)


def _read_visual_genome(item: Mapping[str, Any]) -> Iterator[tuple[str, Given]]:
    if "regions" in item:
        for one in item["regions"]:
            box = _to_corners(one["x"], one["y"], one["width"], one["height"])
            yield str(item["id"]), Given(str(one["phrase"]), "expression", box)
        return
    for one in item["objects"]:
        box = _to_corners(one["x"], one["y"], one["w"], one["h"])
        for name in one["names"]:
            yield str(item["image_id"]), Given(str(name), "phrase", box)


def _read_coco(lists: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, Given]]:
    pictures = {image["id"]: image for image in lists["images"]}
    names = {category["id"]: str(category["name"]) for category in lists.get("categories", ())}
    for one in lists["annotations"]:
        picture = pictures[one["image_id"]]
        key = next((key for key in TEXTS if one.get(key)), "")
        text = str(one[key]) if key else names[one["category_id"]]
        size = picture.get("height", 0), picture.get("width", 0)
        rle, size = _code_mask(one.get("segmentation"), size)
        box = _to_corners(*one["bbox"])
        yield _stem(picture["file_name"]), Given(text, "phrase", box, rle, size)


def _read_sa1b(
    image: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, Given]]:
    for one in annotations:
        rle, size = _code_mask(one["segmentation"], (image["height"], image["width"]))
        for text in one.get("texts", ()):
            words, kind = (
                (text, "phrase") if isinstance(text, str) else (text["text"], text["kind"])
            )
            given = Given(str(words), kind, _to_corners(*one["bbox"]), rle, size)
            yield _stem(image["file_name"]), given


def _code_mask(mask: Any, size: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """Compressed RLE of polygons or of either form of RLE, and its height and width."""
    if not mask:
        return "", (0, 0)
    if isinstance(mask, Mapping):
        size = (int(mask["size"][0]), int(mask["size"][1]))
        if isinstance(mask["counts"], str):
            return mask["counts"], size
    return code_polygons(mask, *size), size


def _to_corners(
    x: float, y: float, width: float, height: float
) -> tuple[float, float, float, float]:
    return float(x), float(y), float(x) + float(width), float(y) + float(height)


def _stem(name: str) -> str:
    return PurePosixPath(urlsplit(str(name)).path or str(name)).stem


def find_given(
    given: Mapping[str, list[Given]], pictures: Iterable[Mapping[str, Any]]
) -> list[list[dict[str, Any]]]:
    """Return what is given for each picture, with boxes as shares of its sides.

    Args:
        given: of `read_given`.
        pictures: rows of pairs: url, key, original_width and original_height.
    """
    rows = []
    for row in pictures:
        names = _stem(row["url"]), row["key"]
        found = next((given[name] for name in names if name in given), [])
        rows.append([_describe(one, row) for one in found])
    return rows


def refuse_given(given: Mapping[str, list[Given]], count: int, url: str, file: str) -> NoReturn:
    """Raise UserError for a file that says nothing of any picture.

    Args:
        given: of `read_given`.
        count: number of pictures.
        url: of the first of them.
        file: where it was read.
    """
    raise UserError(
        f"{FIELD}: {file} has {len(given)} pictures, such as {next(iter(given))!r}, and none of "
        f"them is among the {count} of the pairs, such as {_stem(url)!r}; pictures are found by "
        "the names of their files"
    )


def _describe(one: Given, row: Mapping[str, Any]) -> dict[str, Any]:
    width, height = row["original_width"] or row["width"], row["original_height"] or row["height"]
    sides = (width, height, width, height)
    box = [min(1.0, max(0.0, edge / side)) for edge, side in zip(one.box, sides, strict=True)]
    return {**one._asdict(), "box": box, "size": list(one.size)}
