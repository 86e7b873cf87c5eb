from captionseg.marking.sides import Sides
from tests.captionseg.marking.rows import marked, rows_of


def test_short_sides_and_long_ones():
    rows = rows_of(5, width=[200, 199, 600, 200, 601], height=[200, 900, 200, 601, 200])
    assert {r: (k, why) for r, (k, why, _) in marked(Sides(200, 3.0), rows).items()} == {
        1: ("picture_small", "picture of 199 x 900"),
        3: ("picture_aspect", "picture of 200 x 601"),
        4: ("picture_aspect", "picture of 601 x 200"),
    }
    assert marked(Sides(), rows) == {}
