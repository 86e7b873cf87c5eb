"""One loop for every model: an oracle gets all, scores by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from captionseg import metrics
from captionseg.benchmarks.benchmark import Sample
from captionseg.benchmarks.evaluate import count, per_class, scores


@dataclass
class Pictures:
    """A benchmark of two classes and another that is nowhere; its inputs are the number of the
    picture.
    """

    truths: list
    names: tuple = ("dog", "grass", "unicorn")
    kinds: tuple = ("object", "stuff", "object")
    ignore: int = 255

    def __len__(self) -> int:
        return len(self.truths)

    def samples(self):
        for number, truth in enumerate(self.truths):
            yield Sample(str(number), number, np.array(truth))  # type: ignore[arg-type]


TRUTHS = [[[0, 0, 1, 255]], [[1, 1, 1, 1]], [[0, 1, 0, 1]]]


def test_an_oracle_gets_everything_right():
    areas = count(
        Pictures(TRUTHS),
        lambda number: np.where(np.array(TRUTHS[number]) == 255, 0, TRUTHS[number]),
    )
    out = scores([areas], samples=50, seed=0, groups={"object": np.array([True, False, True])})
    assert out == {
        "miou": 100.0,
        "miou_low": 100.0,
        "miou_high": 100.0,
        "miou_std": 0.0,
        "pixel_accuracy": 100.0,
        "boundary_f": 100.0,
        "miou_object": 100.0,
    }


def test_scores_by_hand():
    areas = count(Pictures(TRUTHS), lambda _: np.zeros((1, 4), int))  # all dog
    assert areas[0].tolist() == [
        [2, 0, 0],
        [3, 0, 0],
        [2, 1, 0],
        *[[0, 0, 0]] * 2,
        [1, 1, 0],
        [0, 0, 0],
    ]
    assert areas[2, 5].tolist() == [2, 2, 0]  # each pixel of dog, grass, dog, grass is at a border
    out = scores([areas], samples=200, seed=0, groups={"stuff": np.array([False, True, False])})
    # 4 of 11 pixels are dog
    assert out["miou"] == pytest.approx(100 * (4 / 11 + 0 / 7) / 2, abs=1e-3)
    assert out["pixel_accuracy"] == pytest.approx(100 * 4 / 11, abs=1e-3)
    assert out["miou_stuff"] == out["boundary_f"] == 0.0
    assert out["miou_low"] < out["miou"] < out["miou_high"]
    assert per_class([areas], Pictures(TRUTHS).names) == {
        "dog": pytest.approx(100 * 4 / 11, abs=1e-3),
        "grass": 0.0,
    }


def test_means_and_spread_over_seeds():
    right = np.array([[[4, 0], [4, 0], [4, 0]]])
    half = np.array([[[2, 0], [2, 2], [4, 0]]])  # dog: 2 / 4, grass: 0 / 2
    out = scores([right, half], samples=10, seed=0)
    assert out["miou"] == 100 * (1.0 + 0.25) / 2
    assert out["miou_std"] == pytest.approx(100 * np.std([1.0, 0.25], ddof=1), abs=1e-3)
    # one picture: every bootstrap data set is the same
    assert out["miou_low"] == out["miou_high"] == out["miou"]
    assert out["pixel_accuracy"] == 100 * (1.0 + 0.5) / 2
    assert per_class([right, half], ["dog", "grass"]) == {"dog": 75.0, "grass": 0.0}


def test_the_interval_is_over_pictures_not_seeds():
    rng = np.random.default_rng(0)
    predicted, true = rng.integers(0, 3, (2, 40, 6, 6))
    areas = np.stack([metrics.areas(p, t, 3) for p, t in zip(predicted, true, strict=True)])
    one, twice = (scores([areas] * n, samples=300, seed=1) for n in (1, 2))
    assert (one["miou_low"], one["miou_high"]) == (twice["miou_low"], twice["miou_high"])
    assert one["miou_high"] - one["miou_low"] < 15
    assert scores([areas], samples=300, seed=1) == one


def test_a_class_that_is_nowhere_is_left_out_without_a_warning():
    empty = np.zeros((2, 3, 2), int)
    empty[:, :, 0] = 1
    assert per_class([empty, empty], ["dog", "unicorn"]) == {"dog": 100.0}
    once = empty.copy()
    once[0, 1, 1] = 1  # one seed sees a unicorn where there is none
    assert per_class([empty, once], ["dog", "unicorn"]) == {"dog": 100.0, "unicorn": 0.0}


def test_labels_out_of_range_are_refused():
    with pytest.raises(ValueError, match="predicted labels"):
        count(Pictures(TRUTHS), lambda _: np.full((1, 4), 3))
