"""COCO's precision of masks against its definition, on cases made by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from captionseg.benchmarks.benchmark import Sample
from captionseg.benchmarks.mask_precision import IOU, MaskPrecision, MaskScores, true_masks
from captionseg.inference.detections import Detections
from captionseg.prepared import without_regions
from captionseg.segmenters.mask_makers import MasksParams


class Picture(NamedTuple):
    """Detections and true masks with their classes."""

    found: Detections
    true: np.ndarray
    classes: np.ndarray


def bars(*ends: tuple[int, int], width: int = 20) -> np.ndarray:
    """[n, 2, width] masks of the columns from .. to."""
    column = np.arange(width)
    return (
        np.stack([np.broadcast_to((column >= a) & (column < b), (2, width)) for a, b in ends])
        if ends
        else np.zeros((0, 2, width), bool)
    )


def picture(
    found: list[tuple[int, int, int, float]], true: list[tuple[int, int, int]], width: int = 20
) -> Picture:
    """Bars (from, to, class, score) found where bars (from, to, class) are."""
    masks = bars(*[f[:2] for f in found], width=width)
    detections = Detections(
        masks, np.array([f[2] for f in found], int), np.array([f[3] for f in found], np.float32)
    )
    return Picture(
        detections, bars(*[t[:2] for t in true], width=width), np.array([t[2] for t in true], int)
    )


def precision(pictures: list[Picture], classes: int, **changes) -> np.ndarray:
    judge = MaskPrecision(classes, **changes)
    for one in pictures:
        judge.add(*one)
    return judge.precision()


def slow(pictures: list[Picture], classes: int) -> np.ndarray:
    """[10, C] by the definition: greedy matches from the highest score down, precision at 101
    recalls.
    """
    out = np.full((len(IOU), classes), np.nan)
    for row, least in enumerate(IOU):
        for c in range(classes):
            total = sum(int((one.classes == c).sum()) for one in pictures)
            hits: list[tuple[float, bool]] = []
            for one in pictures:
                left = [m for m, k in zip(one.true, one.classes, strict=True) if k == c]
                mine = np.flatnonzero(one.found.classes == c)
                for n in mine[np.argsort(-one.found.scores[mine], kind="stable")]:
                    mask = one.found.masks[n]
                    overlap = [(mask & m).sum() / (mask | m).sum() for m in left]
                    right = bool(overlap) and max(overlap) >= least - 1e-10
                    if right:
                        left.pop(int(np.argmax(overlap)))
                    hits.append((float(one.found.scores[n]), right))
            if not total:
                continue
            order = sorted(range(len(hits)), key=lambda i: -hits[i][0])
            true = np.cumsum([hits[i][1] for i in order])
            share = true / np.arange(1, len(order) + 1)
            at = [
                max(
                    [s for s, t in zip(share, true, strict=True) if t / total >= r - 1e-12],
                    default=0.0,
                )
                for r in np.linspace(0, 1, 101)
            ]
            out[row, c] = np.mean(at)
    return out


HAND = [
    picture(
        [(0, 10, 0, 0.9), (1, 10, 0, 0.8), (12, 20, 0, 0.3), (10, 20, 1, 0.6)],
        [(0, 10, 0), (10, 20, 0)],
    ),
    picture([(0, 5, 0, 0.7), (4, 20, 1, 0.95)], [(0, 8, 0), (8, 20, 1)], width=24),
    picture([], [(3, 9, 1)]),
    picture([(2, 4, 1, 0.5)], []),
]


def test_by_hand() -> None:
    # two true masks of class 0; found: right, a duplicate, right: precision 1 up to recall 1/2,
    # then 2/3
    found = precision(
        [picture([(0, 10, 0, 0.9), (0, 9, 0, 0.8), (10, 20, 0, 0.3)], [(0, 10, 0), (10, 20, 0)])], 1
    )
    assert found[:, 0] == pytest.approx([(51 + 50 * 2 / 3) / 101] * 10)


def test_each_overlap_by_hand() -> None:
    found = precision([picture([(0, 15, 0, 0.9)], [(0, 20, 0)])], 1)  # an overlap of .75
    assert found[:, 0] == pytest.approx([1.0] * 6 + [0.0] * 4)


def test_against_the_definition() -> None:
    np.testing.assert_allclose(precision(HAND, 3), slow(HAND, 3), atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_against_the_definition_where_anything_may_be_found(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(count: int, width: int) -> list[tuple[int, int]]:
        starts = rng.integers(0, width - 4, count)
        return [
            (int(a), int(a + b)) for a, b in zip(starts, rng.integers(3, 9, count), strict=True)
        ]

    pictures = []
    for width in (20, 30, 25, 20, 40):
        found = [(a, b, int(rng.integers(3)), float(rng.random())) for a, b in some(12, width)]
        true = [(a, b, int(rng.integers(3))) for a, b in some(4, width)]
        pictures.append(picture(found, true, width))
    assert 0 < np.nanmean(slow(pictures, 4)) < 1
    np.testing.assert_allclose(precision(pictures, 4), slow(pictures, 4), atol=1e-9)


def test_a_class_without_truth_has_no_precision_and_nothing_found_has_zero() -> None:
    found = precision([picture([(0, 5, 2, 0.9)], [(0, 5, 0), (5, 9, 1)])], 3)
    assert np.isnan(found[:, 2]).all()
    assert (found[:, :2] == 0).all()
    assert np.isnan(precision([picture([(0, 5, 0, 0.9)], [])], 2)).all()
    assert (precision([picture([], [(0, 5, 0)])], 1) == 0).all()


def test_empty_masks_do_not_count() -> None:
    found = precision([picture([(3, 3, 0, 0.9), (0, 5, 0, 0.5)], [(0, 5, 0)])], 1)
    assert found == pytest.approx(np.ones((10, 1)))


def test_only_the_best_of_a_class_in_a_picture_count() -> None:
    one = picture(
        [(0, 5, 0, 0.9), (5, 9, 0, 0.8), (9, 12, 0, 0.7), (5, 9, 1, 0.1)], [(9, 12, 0), (5, 9, 1)]
    )
    assert (precision([one], 2, most=2)[:, 0] == 0).all()
    assert precision([one], 2, most=3)[:, 0] == pytest.approx([1 / 3] * 10)
    assert precision([one], 2, most=1)[:, 1] == pytest.approx([1.0] * 10)


def test_there_may_be_more_masks_than_a_byte_counts_and_nothing_is_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    many = picture(
        [(0, 10, 0, 0.9), *[(11, 12, 0, 0.01 + n / 1000) for n in range(300)]], [(0, 10, 0)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert precision([many], 1, most=1000) == pytest.approx(np.ones((10, 1)))
    assert capfd.readouterr() == ("", "")


def test_true_masks_of_wanted_classes() -> None:
    masks, classes = true_masks(np.array([[0, 2, 2], [1, 255, 0]]), np.array([True, False, True]))
    assert classes.tolist() == [0, 2]
    assert masks.astype(int).tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 1, 1], [0, 0, 0]]]
    none, _ = true_masks(np.full((2, 3), 1), np.array([True, False, True]))
    assert none.shape == (0, 2, 3)


# ------------------------------------------------------------------------------------------------
# MaskScores

BENCHMARK = SimpleNamespace(
    names=("dog", "cat", "grass"), kinds=("object", "object", "stuff"), ignore=255
)
TRUTH = np.array([[0, 0, 2, 2], [1, 1, 2, 255]])


def scored(
    detect, *, truth: np.ndarray = TRUTH, masks: torch.Tensor | None = None, seeds: int = 1
) -> dict:
    scores = MaskScores(BENCHMARK, 100)  # type: ignore[arg-type]
    inputs = replace(without_regions(1, (2, 4)), masks=masks)
    for _ in range(seeds):
        look = scores.seed(detect)
        if look is not None:
            look(Sample("u", inputs, truth))
    result: dict = {"scores": {"miou": 1.0}, "protocol": {"prompts": "simple"}}
    scores.add_to(result, MasksParams("hierarchy"))
    return result


def oracle(inputs, wanted: np.ndarray) -> Detections:
    masks, classes = true_masks(TRUTH, wanted)
    return Detections(masks, classes, np.ones(len(classes), np.float32))


def test_an_oracle_finds_everything() -> None:
    result = scored(oracle)
    assert result["scores"] == {
        "miou": 1.0,
        "mask_map": 100.0,
        "mask_map_50": 100.0,
        "mask_map_75": 100.0,
        "mask_coverage": 100.0,
    }
    assert result["mask_ap"] == {"dog": 100.0, "cat": 100.0}
    assert result["protocol"] == {
        "prompts": "simple",
        "masks": "hierarchy",
        "aggregate": "sum",
        "max_detections": 100,
    }


def test_who_always_says_the_same_wrong_thing_finds_nothing() -> None:
    def wrong(inputs, wanted: np.ndarray) -> Detections:
        masks, _ = true_masks(TRUTH, wanted)
        return Detections(masks[:1], np.ones(1, int), np.ones(1, np.float32))

    assert scored(wrong)["scores"]["mask_map"] == 0.0


def test_ignored_pixels_count_nowhere() -> None:
    def spilt(inputs, wanted: np.ndarray) -> Detections:
        found = oracle(inputs, wanted)
        return replace(found, masks=found.masks | (TRUTH == 255))

    assert scored(spilt)["scores"]["mask_map"] == 100.0


def test_means_over_seeds_and_the_share_that_masks_cover() -> None:
    turns = iter(
        [
            oracle,
            lambda *_: Detections(
                np.zeros((0, 2, 4), bool), np.zeros(0, int), np.zeros(0, np.float32)
            ),
        ]
    )
    masks = torch.zeros(1, 2, 2, 4, dtype=torch.bool)
    masks[0, 0, 0], masks[0, 1, 0, :2] = True, True
    result = scored(lambda *given: next(turns)(*given), masks=masks, seeds=2)
    assert result["scores"]["mask_map"] == 50.0
    assert result["scores"]["mask_coverage"] == 50.0


def test_without_things_in_the_truth_only_coverage_is_known() -> None:
    result = scored(oracle, truth=np.full((2, 4), 2))
    assert result["scores"] == {"miou": 1.0, "mask_coverage": 100.0}
    assert result["mask_ap"] == {}


def test_models_that_read_no_segments_are_left_alone() -> None:
    assert scored(None) == {"scores": {"miou": 1.0}, "protocol": {"prompts": "simple"}}
