"""The results of a segment query: a table for the terminal and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion

from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.inference.segment_index import Hit
from captionseg.reporting.overlay import FAINT, INK, PAPER, load_font, shorten
from captionseg.segment_text.rle import decode

SIDE, GAP, LINE = 224, 8, 20  # side of a picture, gap and height of a text line, in pixels
MARGIN = 0.15  # margin around a segment's box, as a share of its side
SMALLEST = 32  # smallest side of a crop, in pixels


@dataclass(frozen=True)
class PicturedHit:
    """A hit and its picture.

    Attributes:
        hit: the hit.
        image: its picture, uint8 [H, W, 3].
        place: tar file and key of the picture.
    """

    hit: Hit
    image: np.ndarray
    place: str

    @property
    def texts(self) -> list[str]:
        """The segment's texts, the best grounded first."""
        ordered = sorted(self.hit.segment["texts"], key=lambda text: -text["score"])
        return list(dict.fromkeys(text["text"] for text in ordered))

    @property
    def mask(self) -> np.ndarray:
        """The segment's mask, bool [H, W]."""
        return decode([self.hit.segment["rle"]], *self.image.shape[:2])[0]


def add_pictures(hits: Sequence[Hit], prepared: PreparedFolders) -> list[PicturedHit]:
    """Add its picture to each hit."""
    row_of, pictures = prepared.row_of(), prepared.pictures()
    rows = [row_of[hit.segment["uid"]] for hit in hits]
    return [
        PicturedHit(hit, pictures[row], f"{pictures.path(row)}:{pictures.keys[row].as_py()}.jpg")
        for hit, row in zip(hits, rows, strict=True)
    ]


def format_table(pictured: Sequence[PicturedHit]) -> Iterator[str]:
    """Yield the lines of a table: rank, score, picture, uid, box (x, y, width, height in pixels),
    texts.
    """
    rows = [("rank", "score", "picture", "uid", "x,y,w,h", "texts")]
    for one in pictured:
        box = ",".join(f"{value:.0f}" for value in one.hit.segment["bbox"])
        rows.append(
            (
                str(one.hit.rank),
                f"{one.hit.score:.3f}",
                one.place,
                one.hit.segment["uid"],
                box,
                " | ".join(one.texts),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(w) if n < 2 else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def draw_contact_sheet(title: str, pictured: Sequence[PicturedHit]) -> np.ndarray:
    """Draw a contact sheet, uint8 [H, W, 3]: a tile per hit, best first, row by row, slightly wider
    than high.
    """
    tiles = [draw_tile(one) for one in pictured]
    height, width = tiles[0].shape[0] + GAP, tiles[0].shape[1] + 2 * GAP
    columns = min(len(tiles), max(1, round((1.4 * len(tiles) * height / width) ** 0.5)))
    rows, top = -(-len(tiles) // columns), 2 * LINE
    page = Image.new("RGB", (columns * width, top + rows * height), PAPER)
    face = load_font(17)
    ImageDraw.Draw(page).text(
        (GAP, top / 2), shorten(title, face, page.width - 2 * GAP), INK, face, anchor="lm"
    )
    for number, one in enumerate(tiles):
        page.paste(
            Image.fromarray(one), (GAP + number % columns * width, top + number // columns * height)
        )
    return np.asarray(page)


def draw_tile(one: PicturedHit) -> np.ndarray:
    """Draw a tile: the picture, faded outside the segment, a crop of the segment, and its text."""
    mask = one.mask
    x, y, w, h = crop_around(one.hit.segment["bbox"], one.image.shape[1], one.image.shape[0])
    part = np.s_[y : y + h, x : x + w]
    page = Image.new("RGB", (2 * SIDE + GAP // 2, SIDE + 2 * LINE), PAPER)
    for place, image, inside, pale in (
        (0, one.image, mask, 0.6),
        (1, one.image[part], mask[part], 0.0),
    ):
        drawn = Image.fromarray(draw_segment(image, inside, pale))
        left = place * (SIDE + GAP // 2)
        page.paste(drawn, (left + (SIDE - drawn.width) // 2, (SIDE - drawn.height) // 2))
    draw, face, small = ImageDraw.Draw(page), load_font(14), load_font(12)
    head, texts = f"{one.hit.rank}   {one.hit.score:.3f}   ", one.texts or [""]
    draw.text((0, SIDE + LINE / 2 + 1), head, FAINT, face, anchor="lm")
    at = face.getlength(head)
    draw.text(
        (at, SIDE + LINE / 2 + 1), shorten(texts[0], face, page.width - at), INK, face, anchor="lm"
    )
    draw.text(
        (0, SIDE + 1.4 * LINE), shorten(one.place, small, page.width), FAINT, small, anchor="lm"
    )
    return np.asarray(page)


def draw_segment(image: np.ndarray, inside: np.ndarray, pale: float) -> np.ndarray:
    """Draw a picture in the size of a tile, with an outline of a segment that is visible on any
    colour.

    The segment is not tinted: a red segment must look red.

    Args:
        image: uint8 [H, W, 3].
        inside: mask of the segment, bool [H, W].
        pale: how far the outside fades to white, 0 to 1.
    """
    scale = SIDE / max(inside.shape)
    size = (max(1, round(inside.shape[1] * scale)), max(1, round(inside.shape[0] * scale)))
    drawn = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), np.float32)
    large = np.asarray(Image.fromarray(inside).resize(size, Image.Resampling.NEAREST))
    drawn[~large] += pale * (255 - drawn[~large])
    drawn[np.logical_and(binary_dilation(large), ~large)] = 255
    drawn[np.greater(large, binary_erosion(large))] = INK  # where the picture ends too
    return drawn.round().astype(np.uint8)


def crop_around(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """Return x, y, width and height of a square crop around a box, clipped to the picture."""
    x, y, w, h = box
    side = max(SMALLEST, round((1 + 2 * MARGIN) * max(w, h)))
    sides = min(side, width), min(side, height)
    left = np.clip(round(x + (w - sides[0]) / 2), 0, width - sides[0])
    top = np.clip(round(y + (h - sides[1]) / 2), 0, height - sides[1])
    return int(left), int(top), *sides
