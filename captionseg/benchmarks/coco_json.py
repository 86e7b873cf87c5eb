"""Masks of things in COCO's JSON: run lengths, compressed or not, and polygons. All input is
validated.
"""

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
    """A thing: the number of its class, and its mask as the file has it."""

    label: int
    segmentation: Any


class AnnotatedPicture(NamedTuple):
    """A picture of the file."""

    name: str
    size: Size
    instances: tuple[Instance, ...]


def read_instances(path: Path) -> tuple[tuple[str, ...], tuple[AnnotatedPicture, ...]]:
    """Names of the classes by their ids, and all pictures in the order of the file. Crowds are left
    out.

    Raises:
        UserError: for a file that is missing or not of that form.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        names = {
            row["id"]: str(row["name"])
            for row in sorted(table["categories"], key=lambda row: int(row["id"]))
        }
        label = {id_: number for number, id_ in enumerate(names)}
        things: dict[Any, list[Instance]] = {row["id"]: [] for row in table["images"]}
        for row in table["annotations"]:
            if not row.get("iscrowd"):
                things[row["image_id"]].append(
                    Instance(label[row["category_id"]], row["segmentation"])
                )
        pictures = tuple(
            AnnotatedPicture(
                str(row["file_name"]),
                (int(row["height"]), int(row["width"])),
                tuple(things[row["id"]]),
            )
            for row in table["images"]
        )
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
    return tuple(names.values()), pictures


def mask_of(segmentation: Any, size: Size) -> np.ndarray:
    """bool [H, W] of a segmentation: {"size", "counts"} with a list or COCO's string, or a list of
    polygons.

    Args:
        segmentation: of the file.
        size: of the picture, which was looked at.

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
    """Run lengths of COCO's string: six bits a character from 48 on, the last of them says whether
    more follow; from the third run on differences to the run before the last.
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
    """bool [H, W] of run lengths, column by column, the first of them outside."""
    if (
        not all(isinstance(run, int) and run >= 0 for run in counts)
        or sum(counts) != size[0] * size[1]
    ):
        raise ValueError(f"run lengths that do not add up to {size[0]} x {size[1]} pixels")
    runs = np.array(counts, np.int64)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0]).T


def from_polygons(polygons: Sequence[Any], size: Size) -> np.ndarray:
    """bool [H, W]: what lies in any of the polygons [x, y, x, y, ..], as COCO's own code fills
    them.
    """
    from pycocotools import mask

    coco: Any = mask  # its own type hints know a box alone
    height, width = size
    for polygon in polygons:
        points = np.asarray(polygon, np.float64)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2:
            raise ValueError("a polygon that is not at least three pairs of numbers")
        reach = max(height, width)  # filling takes time and memory by the length of edges
        if not np.isfinite(points).all() or points.min() < -reach or points.max() > 2 * reach:
            raise ValueError(f"a polygon far outside the picture of {width} x {height} pixels")
    if not polygons:
        return np.zeros(size, bool)
    rles = coco.frPyObjects([[float(x) for x in polygon] for polygon in polygons], height, width)
    return coco.decode(rles).any(2).astype(bool)
