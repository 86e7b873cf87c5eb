"""Files that are written of segmented pictures: which, where, and never over a picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captionseg.api.segmentation import Segmentation
from captionseg.api.sources import Source
from captionseg.records import UserError
from captionseg.remarks import warn_once
from captionseg.reporting.overlay import check_writable, write_picture

COCO = "segments.json"


@dataclass(frozen=True)
class Wanted:
    """What is to be written.

    Attributes:
        folder: of all files that have no name of their own.
        overlay: file of the only picture's overlay; None for STEM_segments.png of each.
        mask: file of the only picture's index PNG.
        index: whether each picture has STEM_labels.png.
        heat: whether each picture has STEM_heat.png.
        coco: file of all masks in COCO's JSON.
    """

    folder: Path = Path()
    overlay: Path | None = None
    mask: Path | None = None
    index: bool = False
    heat: bool = False
    coco: Path | None = None


@dataclass(frozen=True)
class Files:
    """The files of one picture.

    Attributes:
        overlay: its overlay.
        index: its index PNGs.
        heat: its heat maps; None writes none.
    """

    overlay: Path
    index: tuple[Path, ...] = ()
    heat: Path | None = None

    def __iter__(self) -> Iterator[Path]:
        yield self.overlay
        yield from self.index
        if self.heat:
            yield self.heat


def choose_files(out: Path | None, mask: Path | None, *, heat: bool, coco: Path | None) -> Wanted:
    """Choose what is written.

    Args:
        out: an existing folder, or a name without a suffix, for everything of every picture; or a
            file for the overlay of the only picture; None writes overlays into the current folder.
        mask: see Wanted.
        heat: see Wanted.
        coco: see Wanted.
    """
    if out is None:
        return Wanted(mask=mask, heat=heat, coco=coco)
    if out.is_dir() or not out.suffix:
        return Wanted(out, mask=mask, index=True, heat=heat, coco=coco or out / COCO)
    return Wanted(out.parent, out, mask, heat=heat, coco=coco)


def plan(sources: Sequence[Source], wanted: Wanted) -> dict[Source, Files]:
    """Plan the files of each picture. Pictures of folders that are results of others are left out.

    Args:
        sources: the pictures.
        wanted: what is to be written.

    Raises:
        UserError: for files that cannot be written, or in whose place there is a picture.
    """
    if (wanted.overlay or wanted.mask) and len(sources) > 1:
        option = "--out" if wanted.overlay else "--mask"
        raise UserError(
            f"{option}: names one file, but there are {len(sources)} pictures; give a folder "
            "with -o"
        )
    planned = name_files(sources, wanted)
    results = {os.path.realpath(path) for files in planned.values() for path in files}
    ours = [s for s in planned if s.listed and os.path.realpath(s.path) in results]
    if ours:
        warn_once(
            f"{ours[0].path}: is a result of an earlier call and left out"
            + (f", and {len(ours) - 1} more" if len(ours) > 1 else "")
        )
        planned = name_files([s for s in sources if s not in ours], wanted)
    every = [path for files in planned.values() for path in files]
    check_names([*every, *([wanted.coco] if wanted.coco else [])], planned)
    for path in every[:100]:  # the others differ by their stems
        check_writable(path)
    return planned


def name_files(sources: Sequence[Source], wanted: Wanted) -> dict[Source, Files]:
    """Name the files of each picture; of equal stems the second one has -2."""
    count: Counter[str] = Counter()
    planned = {}
    for source in sources:
        count[source.stem] += 1
        number = count[source.stem]
        start = f"{source.stem}-{number}" if number > 1 else source.stem
        index = [wanted.folder / f"{start}_labels.png"] if wanted.index else []
        planned[source] = Files(
            wanted.overlay or wanted.folder / f"{start}_segments.png",
            tuple(index + ([wanted.mask] if wanted.mask else [])),
            wanted.folder / f"{start}_heat.png" if wanted.heat else None,
        )
    return planned


def check_names(paths: Sequence[Path], planned: dict[Source, Files]) -> None:
    """Refuse files in whose place there is a picture, and two of one name.

    Raises:
        UserError: naming the file.
    """
    pictures = {os.path.realpath(s.path): s.path for s in planned if not s.is_stdin}
    there = [path for path in pictures.values() if path.exists()]
    kept = {(info.st_dev, info.st_ino): path for path in there if (info := path.stat())}
    seen: set[str] = set()
    for path in paths:
        place, picture = os.path.realpath(path), None
        if path.exists():
            info = path.stat()
            picture = kept.get((info.st_dev, info.st_ino))
        if picture := picture or pictures.get(place):
            raise UserError(
                f"{picture}: is the input picture, which is never overwritten; choose another file"
            )
        if place in seen:
            raise UserError(f"{path}: is named for two results; choose different names")
        seen.add(place)
    for files in planned.values():
        for path in files.index:
            if check_writable(path) != "PNG":
                raise UserError(f"{path}: masks are written as PNG; use a name ending in .png")


def write_files(result: Segmentation, files: Files) -> None:
    """Write overlay and index PNGs of a result.

    Raises:
        OSError: if one cannot be written.
    """
    write_picture(np.asarray(result.overlay()), files.overlay)
    for path in files.index:
        write_index(result, path)


def write_index(result: Segmentation, path: Path) -> None:
    """Write the numbers of the labels as a PNG with a palette, atomically."""
    import zlib

    from captionseg.storage.writing import atomic_path

    with atomic_path(path) as part:
        result.index_image().save(part, "PNG", compress_type=zlib.Z_RLE)
