from captionseg.marking.repeated import Repeated
from tests.captionseg.marking.rows import marked, rows_of


def test_more_pictures_than_may_be():
    rows = rows_of(6, caption=["Shop", "shop", " SHOP ", "a dog", "a dog", "x"])
    assert {
        r: reason for r, (_, reason, _) in marked(Repeated(most=2), rows).items()
    } == dict.fromkeys((0, 1, 2), "caption of 3 pictures")
    assert marked(Repeated(most=3), rows) == {}


def test_a_picture_that_has_it_twice_and_rows_that_are_not_kept_count_once_or_not():
    rows = rows_of(4, caption=["shop"] * 4, picture=[0, 0, 1, 2])
    assert sorted(marked(Repeated(most=2), rows)) == [0, 1, 2, 3]
    assert marked(Repeated(most=2), rows, [True, True, True, False]) == {}


def test_captions_of_test_pictures_do_not_count():
    rows = rows_of(3, caption=["shop"] * 3, split=["train", "train", "test"])
    assert marked(Repeated(most=2), rows) == {}
