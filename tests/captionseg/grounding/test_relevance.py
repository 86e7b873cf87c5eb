"""Boxes from relevance maps, on features in which the answer is known."""

from collections.abc import Sequence

import numpy as np
import pytest

from captionseg.grounding.relevance import (
    Relevance,
    RelevanceGrounder,
    components,
    region_means,
    upsample,
)

WORDS = ("ground", "dog", "cat")


class Axes:
    """A joint space of one axis a word; dense features are in it already."""

    asked: int = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += len(texts)
        return np.array([[float(word in text) for word in WORDS] for text in texts], np.float32)

    def project_dense(self, dense: np.ndarray) -> np.ndarray:
        return dense.astype(np.float32)


IMAGE = np.zeros((80, 160, 3), np.uint8)  # cells of 10 x 20 pixels below


def scene() -> np.ndarray:
    dense = np.zeros((8, 8, 3))
    dense[..., 0] = 1
    dense[2:5, 3:6] = (0, 1, 0)  # the dog; no cat
    return dense


@pytest.fixture
def grounder() -> RelevanceGrounder:
    cells = np.eye(3)[np.array([0] * 80 + [1] * 10 + [2] * 10)]
    return Relevance(zoom=1, threshold=1.0).build(Axes(), cells)


def test_the_box_of_a_phrase_is_where_it_is(grounder: RelevanceGrounder) -> None:
    found = grounder.boxes(IMAGE, ["a dog"], dense=scene())
    assert found.boxes == pytest.approx(np.array([[60, 20, 120, 50]]))
    assert found.boxes.dtype == np.float32
    assert 0.5 <= found.score[0] <= 1


def test_a_phrase_without_relevance_has_no_box_and_the_others_keep_their_numbers(
    grounder: RelevanceGrounder,
) -> None:
    found = grounder.boxes(IMAGE, ["a cat", "a dog", "dog"], dense=scene())
    assert found.phrase.tolist() == [1, 2]
    assert grounder.boxes(IMAGE, [], dense=scene()).boxes.shape == (0, 4)


def test_standardisation_takes_out_what_a_phrase_gives_every_cell(
    grounder: RelevanceGrounder,
) -> None:
    # ground: mean .8, deviation .4 over the corpus's cells, so a cell of ground is (1 - .8) / .4 =
    # .5 deviations up
    assert grounder.relevance(scene(), ["ground"])[0, 0, 0] == pytest.approx(0.5)
    assert not len(grounder.boxes(IMAGE, ["ground"], dense=scene()))


def test_each_phrase_is_encoded_once() -> None:
    space = Axes()
    grounder = Relevance().build(space, np.eye(3))
    grounder.prepare(["dog", "cat", "dog"])
    grounder.boxes(IMAGE, ["cat", "dog"], dense=scene())
    assert space.asked == 2


def test_what_is_prepared_next_takes_the_place_of_what_was_before() -> None:
    space = Axes()
    grounder = Relevance().build(space, np.eye(3))
    grounder.prepare(["dog", "cat"])
    grounder.prepare(["cat", "ground"])
    assert set(grounder.known) == {"cat", "ground"}
    assert space.asked == 4
    alone = Relevance().build(space, np.eye(3))
    assert np.array_equal(alone.relevance(scene(), ["dog"]), grounder.relevance(scene(), ["dog"]))
    grounder.prepare([])
    assert set(grounder.known) == {"dog"}


def test_without_dense_features_it_says_so(grounder: RelevanceGrounder) -> None:
    with pytest.raises(ValueError, match="dense features"):
        grounder.boxes(IMAGE, ["dog"])


def test_components_by_hand() -> None:
    maps = np.zeros((2, 4, 6))
    maps[0, 0, 0] = maps[0, 1, 1] = 3.0  # touch at a corner: one component, 4 above the cut of 1
    maps[0, 3, 3:6] = 2.0  # 3 above the cut
    maps[0, 0, 5] = 1.5  # .5 above the cut: no rival
    maps[1, :, 0] = 1.0  # the same cells as in map 0 would touch across maps
    boxes, phrase = components(maps, np.array([1.0, 1.0]), most=3, rival=0.5)
    assert phrase.tolist() == [0, 0, 1]
    assert boxes.tolist() == [[0, 0, 2, 2], [3, 3, 6, 4], [0, 0, 1, 4]]
    assert components(maps, np.array([1.0, 1.0]), most=1, rival=0.5)[1].tolist() == [0, 1]
    assert components(maps, np.array([9.0, 9.0]), most=1, rival=0.5)[0].shape == (0, 4)


def test_zoom_interpolates_between_centres() -> None:
    assert upsample(np.array([[[0.0, 1.0]]]), 2)[0] == pytest.approx(
        np.array([[0, 0.25, 0.75, 1]] * 2)
    )
    assert upsample(np.ones((2, 3, 4)), 4).shape == (2, 12, 16)


def test_means_of_regions_are_those_of_the_upsampled_map() -> None:
    maps = np.array([[[0.0, 1.0]], [[2.0, 2.0]]])  # the first, upsampled: 0 .25 .75 1
    labels = np.array([[0, 1, 1, 0], [0, 1, 1, 1]], np.uint8)
    row = np.array([1 / 3, 0.6, 0.6, 1 / 3])  # (0 + 0 + 1) / 3 and (.25 + .75 + .25 + .75 + 1) / 5
    assert region_means(maps, labels)[0, 0] == pytest.approx(row)
    assert region_means(maps, labels)[1] == pytest.approx(2.0)


def test_with_regions_the_box_ends_where_the_region_does(grounder: RelevanceGrounder) -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[3:11, 5:13] = (
        1  # the dog's region is half a cell larger than the cells that speak for it
    )
    found = grounder.boxes(IMAGE, ["a dog"], dense=scene(), labels=labels)
    assert found.boxes == pytest.approx(np.array([[50, 15, 130, 55]]))
