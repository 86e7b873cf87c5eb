"""Reads masks of objects from COCO's JSON, as run lengths or polygons, with validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captionseg.records import UserError, one_line

Size = tuple[int, int]
"""Height and width in pixels."""


class Instance(NamedTuple):
    """An object: the number of its class, and its mask in COCO's format."""

    label: int
    segmentation: Any


class AnnotatedPicture(NamedTuple):
    """A picture with its objects."""

    name: str
    size: Size
    instances: tuple[Instance, ...]


def read_instances(path: Path) -> tuple[tuple[str, ...], tuple[AnnotatedPicture, ...]]:
    """Read the names of the classes, in order of their ids, and all pictures, without crowds.

    Raises:
        UserError: for a file that is missing or invalid.
    """
    try:
        names, pictures = parse_instances(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (
        OSError,
        UnicodeDecodeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise UserError(
            f"{path}: not COCO JSON with images, annotations and categories: {one_line(error)}"
        ) from None
    if not names or not pictures:
        raise UserError(f"{path}: has no {'categories' if not names else 'images'}")
    return names, pictures


def parse_instances(table: Any) -> tuple[tuple[str, ...], tuple[AnnotatedPicture, ...]]:
    """Return what `read_instances` does, of the content of a file; any error if it is invalid."""
    names = {
        row["id"]: str(row["name"])
        for row in sorted(table["categories"], key=lambda row: int(row["id"]))
    }
    label = {id_: number for number, id_ in enumerate(names)}
    objects: dict[Any, list[Instance]] = {row["id"]: [] for row in table["images"]}
    for row in table["annotations"]:
        if not row.get("iscrowd"):
            objects[row["image_id"]].append(
                Instance(label[row["category_id"]], row["segmentation"])
            )
    pictures = tuple(
        AnnotatedPicture(
            str(row["file_name"]),
            (int(row["height"]), int(row["width"])),
            tuple(objects[row["id"]]),
        )
        for row in table["images"]
    )
    return tuple(names.values()), pictures


def mask_of(segmentation: Any, size: Size) -> np.ndarray:
    """Decode a segmentation to a mask, bool [H, W].

    Args:
        segmentation: {"size", "counts"}, with counts as a list or COCO's string; or a list of
            polygons.
        size: (height, width) of the picture.

    Raises:
        ValueError: for anything else, and for a mask of another size.
    """
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if list(segmentation["size"]) != list(size):
            raise ValueError(
                f"run lengths of {segmentation['size']}, but the picture has {list(size)}"
            )
        return from_counts(decompress_counts(counts) if isinstance(counts, str) else counts, size)
    if isinstance(segmentation, list):
        return from_polygons(segmentation, size)
    raise ValueError(f"neither run lengths nor polygons: {type(segmentation).__name__}")


def decompress_counts(text: str) -> list[int]:
    """Decode COCO's string of run lengths.

    Each character has six bits, plus 48; the highest bit says whether more characters follow. From
    the third run on, values are differences to the run before the previous one.

    Raises:
        ValueError: for an invalid string.
    """
    counts: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("run lengths that are not COCO's")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths that are cut off")
    return counts


def from_counts(counts: Sequence[int], size: Size) -> np.ndarray:
    """Decode run lengths to a mask, bool [H, W]; they are column-major, the first is background.

    Raises:
        ValueError: if they do not add up to the size.
    """
    if (
        not all(isinstance(run, int) and run >= 0 for run in counts)
        or sum(counts) != size[0] * size[1]
    ):
        raise ValueError(f"run lengths that do not add up to {size[0]} x {size[1]} pixels")
    runs = np.array(counts, np.int64)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0]).T


def from_polygons(polygons: Sequence[Any], size: Size) -> np.ndarray:
    """Return the union of polygons [x, y, x, y, ..] as a mask, bool [H, W], by COCO's own code.

    Raises:
        ValueError: for an invalid polygon, or one far outside of the picture.
    """
    from pycocotools import mask

    coco: Any = mask  # its type hints only allow boxes
    height, width = size
    for polygon in polygons:
        points = np.asarray(polygon, np.float64)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2:
            raise ValueError("a polygon that is not at least three pairs of numbers")
        reach = max(height, width)  # filling needs time and memory in proportion to edges
        if not np.isfinite(points).all() or points.min() < -reach or points.max() > 2 * reach:
            raise ValueError(f"a polygon far outside the picture of {width} x {height} pixels")
    if not polygons:
        return np.zeros(size, bool)
    rles = coco.frPyObjects([[float(x) for x in polygon] for polygon in polygons], height, width)
    return coco.decode(rles).any(2).astype(bool)
