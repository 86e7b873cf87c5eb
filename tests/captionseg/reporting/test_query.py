"""The sheet and the table of a query: what stands where."""

import numpy as np
import pytest

from captionseg.inference.segment_index import Hit
from captionseg.reporting.overlay import INK, PAPER, load_font
from captionseg.reporting.query import (
    GAP,
    LINE,
    SIDE,
    PicturedHit,
    add_pictures,
    crop_around,
    draw_contact_sheet,
    draw_segment,
    draw_tile,
    format_table,
    shorten,
)
from captionseg.segment_text.rle import encode

GREY = 90


@pytest.fixture
def found():
    """A picture of 40 x 80 with a segment of 10 x 20 in it."""
    mask = np.zeros((1, 40, 80), bool)
    mask[0, 10:20, 30:50] = True
    rles, _, boxes = encode(mask)
    texts = [
        {"text": "thing", "score": 0.2},
        {"text": "a red apple", "score": 0.9},
        {"text": "thing", "score": 0.1},
    ]
    hit = Hit(1, 0.5, {"uid": "u" * 32, "rle": rles[0], "bbox": boxes[0].tolist(), "texts": texts})
    return PicturedHit(hit, np.full((40, 80, 3), GREY, np.uint8), "pairs/00000.tar:7.jpg")


def test_the_table_names_each_hit(found):
    head, line = format_table([found])
    assert head.split() == ["rank", "score", "picture", "uid", "x,y,w,h", "texts"]
    assert line.split(maxsplit=5) == [
        "1",
        "0.500",
        found.place,
        "u" * 32,
        "30,10,20,10",
        "a red apple | thing",
    ]
    assert head.index("texts") == line.index("a red")


def test_outside_of_the_segment_the_picture_is_pale(found):
    drawn = draw_segment(found.image, found.mask, 0.5)
    assert drawn.shape == (SIDE // 2, SIDE, 3)
    scale = SIDE / 80
    y, x = (round(scale * v) for v in (15, 40))
    assert (drawn[y, x] == GREY).all()
    assert (drawn[2, 2] == round(GREY + 0.5 * (255 - GREY))).all()
    line = (drawn == INK).all(2)
    assert line[:, x].sum() == line[y].sum() == 2  # once on each side
    assert (draw_segment(found.image, found.mask, 0.0)[2, 2] == GREY).all()


def test_a_segment_that_is_the_whole_picture_has_a_frame():
    drawn = draw_segment(np.full((30, 30, 3), GREY, np.uint8), np.ones((30, 30), bool), 0.6)
    line = (drawn == INK).all(2)
    assert line[0].all()
    assert line[-1].all()
    assert line[:, 0].all()
    assert line[:, -1].all()
    assert not line[1:-1, 1:-1].any()


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 100, 50, 20), (92, 78, 65, 65)),  # 1.3 * 50 around the middle
        ((0, 0, 4, 4), (0, 0, 32, 32)),
        ((198, 148, 2, 2), (168, 118, 32, 32)),
        ((0, 0, 200, 150), (0, 0, 200, 150)),
    ],
)
def test_a_square_around_the_box_inside_the_picture(box, expected):
    assert crop_around(box, 200, 150) == expected


def test_the_crop_shows_the_segment_large(found):
    page = draw_tile(found)
    assert page.shape == (SIDE + 2 * LINE, 2 * SIDE + GAP // 2, 3)
    left, right = page[:SIDE, :SIDE], page[:SIDE, -SIDE:]
    assert (right[SIDE // 2, SIDE // 2] == GREY).all()
    ink = [np.flatnonzero((half == INK).all(2).any(0)) for half in (left, right)]
    widths = [int(np.ptp(columns)) for columns in ink]
    assert widths[1] == pytest.approx(widths[0] * 80 / 32, abs=3)  # 32 of 80 columns are shown
    assert (page[SIDE:] != PAPER).any()


def test_a_sheet_has_all_tiles_and_is_not_too_long(found):
    one, many = draw_contact_sheet("words", [found]), draw_contact_sheet("words", [found] * 20)
    height, width = draw_tile(found).shape[:2]
    assert one.shape[1] == width + 2 * GAP
    assert 1 < many.shape[1] / many.shape[0] < 2
    places = [(r, c) for r in range(many.shape[0] // height) for c in range(many.shape[1] // width)]
    assert len(places) >= 20
    first, last = (2 * LINE, GAP), (many.shape[0] - GAP - height, many.shape[1] - GAP - width)
    for y, x in (first, last):
        np.testing.assert_array_equal(many[y : y + height, x : x + width], draw_tile(found))


def test_long_texts_are_cut():
    face = load_font(14)
    assert shorten("short", face, 200) == "short"
    cut = shorten("a very long text " * 10, face, 200)
    assert cut.endswith("...")
    assert 150 < face.getlength(cut) <= 200
    assert shorten("anything", face, 1) == "..."


def test_hits_come_with_their_pictures(world):
    rows = world.table.to_pylist()
    hits = [Hit(n, 0.1, {"uid": rows[row]["uid"]}) for n, row in ((1, 40), (2, 3))]
    found = add_pictures(hits, world.prepared)
    assert [one.hit for one in found] == hits
    assert [one.place for one in found] == [
        f"{world.pairs}/{rows[row]['shard']}.tar:{rows[row]['key']}.jpg" for row in (40, 3)
    ]
    assert found[0].image.shape == (32, 32, 3)
