import numpy as np
import pytest
import torch
from scipy import ndimage
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

from captionseg.metrics import (
    areas,
    bootstrap,
    boundary,
    boundary_f,
    boundary_matches,
    interval,
    iou,
    mean_iou,
    paired_difference,
    pixel_accuracy,
)

CLASSES = 5


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    predicted, true = rng.integers(0, CLASSES, (2, 6, 9, 7))  # six images
    return predicted, np.where(rng.random(true.shape) < 0.1, 255, true)


def totals(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.stack([areas(p, t, CLASSES) for p, t in zip(predicted, true, strict=True)])


def test_areas_by_hand():
    predicted = np.array([[0, 0, 1], [2, 1, 1]])
    true = np.array([[0, 1, 1], [255, 1, 0]])
    # counted pairs (predicted, true): (0,0) (0,1) (1,1) (1,1) (1,0); the 2 stands on an ignored
    # pixel
    assert areas(predicted, true, 3).tolist() == [[1, 2, 0], [2, 3, 0], [2, 3, 0]]


def test_against_a_loop_over_pixels(labels):
    predicted, true = labels
    for p_image, t_image in zip(predicted, true, strict=True):
        expected = np.zeros((3, CLASSES), int)
        for p, t in zip(p_image.flat, t_image.flat, strict=True):
            if t != 255:
                expected[0, p] += p == t
                expected[1, p] += 1
                expected[2, t] += 1
        assert np.array_equal(areas(p_image, t_image, CLASSES), expected)


def test_against_torchmetrics(labels):
    predicted, true = labels
    total = totals(predicted, true).sum(0)
    p, t = torch.from_numpy(predicted), torch.from_numpy(true.astype(np.int64))
    jaccard = multiclass_jaccard_index(p, t, CLASSES, average="none", ignore_index=255)
    np.testing.assert_allclose(iou(total), jaccard.numpy(), rtol=1e-6)
    accuracy = multiclass_accuracy(p, t, CLASSES, average="micro", ignore_index=255)
    assert pixel_accuracy(total) == pytest.approx(accuracy.item())


def test_miou_is_of_the_data_set_and_no_mean_over_images():
    first = areas(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 0]), 2)  # class 0: 4 / 4
    second = areas(np.array([1]), np.array([0]), 2)  # class 0: 0 / 1, class 1: 0 / 1
    assert mean_iou(first + second) == pytest.approx((4 / 5 + 0) / 2)
    assert np.mean([mean_iou(first), mean_iou(second)]) == pytest.approx(0.5)


def test_a_class_that_is_nowhere_does_not_count():
    total = areas(np.array([0, 1]), np.array([0, 0]), 4)
    assert np.isnan(iou(total)[2:]).all()
    assert mean_iou(total) == pytest.approx((0.5 + 0.0) / 2)  # a false alarm of class 1 does
    assert mean_iou(total, np.array([True, False, True, False])) == pytest.approx(0.5)


def test_nothing_to_count_is_zero_and_no_warning():
    total = areas(np.array([0]), np.array([255]), 2)
    assert mean_iou(total) == 0.0
    assert pixel_accuracy(total) == 0.0


def test_wrong_labels_and_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        areas(np.zeros((2, 2), int), np.zeros((2, 3), int), 2)
    with pytest.raises(ValueError, match=r"true labels must be in 0..1, found 0..2"):
        areas(np.array([0, 0]), np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="predicted labels"):
        areas(np.array([-1]), np.array([0]), 2)
    # what lies on ignored pixels is nobody's business
    assert areas(np.array([7]), np.array([255]), 2).sum() == 0


def test_bootstrap_draws_as_many_images_as_there_are():
    one_pixel_each = np.zeros((10, 3, 2), np.int64)
    one_pixel_each[:, 2, 0] = 1
    drawn = bootstrap(one_pixel_each, samples=50, seed=0)
    assert drawn.shape == (50, 3, 2)
    assert np.array_equal(drawn[:, 2, 0], np.full(50, 10.0))


def test_bootstrap_weights_are_the_same_for_all_columns():
    rng = np.random.default_rng(0)
    once = rng.integers(0, 9, (12, 3, 4))
    # two seeds of one recipe
    drawn = bootstrap(np.stack([once, 2 * once], axis=1), samples=20, seed=3)
    np.testing.assert_allclose(drawn[:, 1], 2 * drawn[:, 0])
    np.testing.assert_array_equal(
        drawn, bootstrap(np.stack([once, 2 * once], axis=1), samples=20, seed=3)
    )
    assert not np.array_equal(drawn[:, 0], bootstrap(once, samples=20, seed=4))


def test_bootstrap_of_equal_images_has_no_spread():
    same = np.repeat(areas(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)[None], 8, axis=0)
    values = mean_iou(bootstrap(same, samples=30, seed=0))
    np.testing.assert_allclose(values, mean_iou(same.sum(0)))


def test_interval_is_of_percentiles():
    assert interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert interval(np.arange(101.0), 0.5) == pytest.approx((25.0, 75.0))


def test_miou_against_torchmetrics_confusion_matrix(labels):
    predicted, true = labels
    p, t = torch.from_numpy(predicted), torch.from_numpy(true.astype(np.int64))
    table = multiclass_confusion_matrix(p, t, CLASSES, ignore_index=255).numpy()
    expected = np.stack([np.diag(table), table.sum(0), table.sum(1)])
    assert np.array_equal(totals(predicted, true).sum(0), expected)
    shares = np.diag(table) / (table.sum(0) + table.sum(1) - np.diag(table))
    assert mean_iou(expected) == pytest.approx(shares.mean())


def noisy(count: int, right: float, rng: np.random.Generator) -> np.ndarray:
    """[n, 1, 3, 2] of pictures of 50 pixels of two classes; each picture has its own share that is
    right.
    """
    share = np.clip(rng.normal(right, 0.15, (count, 2)), 0, 1)
    good = np.round(50 * share).astype(int)
    true = np.full((count, 2), 50)
    return np.stack([good, good + (50 - good)[:, ::-1], true], 1)[:, None]


def test_the_interval_of_miou_covers_what_is_true():
    rng = np.random.default_rng(0)
    truth = float(mean_iou(noisy(50_000, 0.6, rng)[:, 0].sum(0)))
    hits = 0
    for seed in range(200):
        drawn = bootstrap(noisy(60, 0.6, rng)[:, 0], samples=200, seed=seed)
        low, high = interval(mean_iou(drawn))
        hits += low <= truth <= high
    # three standard errors about .94; percentiles of 60 pictures are a little narrow
    assert 0.89 <= hits / 200 <= 0.98


def test_the_interval_of_a_difference_covers_what_is_true():
    """Both recipes err on the same pictures: unpaired intervals would be far too wide."""
    rng = np.random.default_rng(1)

    def both(count: int) -> tuple[np.ndarray, np.ndarray]:
        a = noisy(count, 0.6, rng)
        worse = a.copy()
        lost = rng.binomial(worse[:, :, 0], 0.05)
        worse[:, :, 0] -= lost
        worse[:, :, 1] = worse[:, :, 1] - lost + lost[..., ::-1]
        return a, worse

    large = both(50_000)
    truth = float(mean_iou(large[0].sum(0))[0] - mean_iou(large[1].sum(0))[0])
    found = [paired_difference(*both(60), samples=200, seed=seed) for seed in range(200)]
    assert 0.89 <= np.mean([d.low <= truth <= d.high for d in found]) <= 0.985
    assert np.mean([d.better for d in found]) > 0.99
    assert np.mean([d.high - d.low for d in found]) < 0.02


def test_a_recipe_against_itself_and_against_another():
    rng = np.random.default_rng(2)
    a, b = noisy(20, 0.7, rng), noisy(20, 0.5, rng)
    assert paired_difference(a, a, samples=50, seed=0) == (0.0, 0.0, 0.0, 0.5)
    forth, back = (
        paired_difference(a, b, samples=50, seed=0),
        paired_difference(b, a, samples=50, seed=0),
    )
    assert forth == paired_difference(a, b, samples=50, seed=0)
    assert forth.better + back.better == pytest.approx(1.0)
    assert (forth.mean, forth.low) == pytest.approx((-back.mean, -back.high))
    assert forth.mean == pytest.approx(float(mean_iou(a.sum(0))[0] - mean_iou(b.sum(0))[0]))
    thrice = paired_difference(
        np.concatenate([a] * 3, 1), b, samples=50, seed=0
    )  # other numbers of seeds
    assert thrice == pytest.approx(forth)
    with pytest.raises(ValueError, match="not of the same images"):
        paired_difference(a, b[:-1], samples=5, seed=0)


def test_boundaries_by_hand():
    mask = np.zeros((5, 5), bool)
    mask[1:4, 1:5] = True  # touches the right side of the picture
    assert boundary(mask)[2].tolist() == [True, True, False, False, False]
    assert (boundary(mask) & mask)[[1, 3], 1:].all()
    assert not boundary(mask)[[0, 4], 0].any()  # a corner is no neighbour
    assert not boundary(np.ones((4, 4), bool)).any()


def test_boundary_f_by_hand():
    """Two halves; the border is 3 pixels off, and the band of a diagonal of 50 is 1 pixel."""
    true = np.zeros((30, 40), int)
    true[:, 20:] = 1
    shifted = np.roll(true, 3, axis=1)
    shifted[:, :3] = 0
    exact = boundary_matches(true, true, 3)
    assert exact[:, 0].tolist() == [30] * 4
    np.testing.assert_array_equal(boundary_f(exact), [1.0, 1.0, np.nan])
    assert boundary_f(boundary_matches(shifted, true, 3))[:2].tolist() == [0.0, 0.0]
    # 2.5 -> 3 pixels
    assert boundary_f(boundary_matches(shifted, true, 3, band=0.05))[:2].tolist() == [1.0, 1.0]
    # all that is predicted is right, half of what is true is found
    half = np.array([[30], [30], [60], [30]])
    assert boundary_f(half)[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize("band", [0.0075, 0.1, 0.2])
@pytest.mark.parametrize("ignored", [False, True])
def test_boundary_matches_against_all_distances(band, ignored):
    rng = np.random.default_rng(5)
    true, predicted = (np.kron(rng.integers(0, 3, (4, 5)), np.ones((3, 3), int)) for _ in range(2))
    if ignored:
        true[4:8, 2:9] = 255
    reach, void = np.ceil(band * np.hypot(*true.shape)), true == 255
    distance, nearest = ndimage.distance_transform_edt(void, return_indices=True)
    filled = true[tuple(nearest)] if ignored else true
    found = boundary_matches(predicted, true, 4, band=band)
    for c in range(4):
        points = []
        for labels in (predicted, filled):
            points.append(
                [
                    (y, x)
                    for y in range(12)
                    for x in range(15)
                    if distance[y, x] <= reach
                    and labels[y, x] == c
                    and any(
                        labels[v, u] != c
                        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                        if 0 <= v < 12 and 0 <= u < 15
                    )
                ]
            )
        met = [
            [any(np.hypot(y - v, x - u) <= reach for v, u in others) for y, x in own]
            for own, others in (points, points[::-1])
        ]
        wrong = sum(
            not right and not void[place] for right, place in zip(met[0], points[0], strict=True)
        )
        assert found[:, c].tolist() == [
            sum(met[0]) + wrong,
            sum(met[0]),
            len(points[1]),
            sum(met[1]),
        ]


IGNORE = 255


def square(grown: int = 0) -> np.ndarray:
    labels = np.zeros((100, 100), int)
    labels[30 - grown : 70 + grown, 30 - grown : 70 + grown] = 1
    return labels


@pytest.fixture
def banded() -> np.ndarray:
    """The square with two pixels on either side of its border left out; boundaries may lie two
    apart.
    """
    true = np.where(square(2) == square(-2), square(), IGNORE)
    assert np.ceil(0.0075 * np.hypot(100, 100)) == 2
    return true


@pytest.mark.parametrize(
    ("grown", "least", "most"),
    [(0, 1, 1), (1, 0.97, 1), (-1, 0.97, 1), (6, 0, 0.01), (-8, 0, 0.01)],
)
def test_a_band_along_the_border(banded, grown, least, most):
    found = boundary_f(boundary_matches(square(grown), banded, 2, ignore=IGNORE))
    assert (found >= least).all()
    assert (found <= most).all()


def test_nothing_predicted_finds_no_border_and_a_wrong_one_in_the_band_is_not_held_against_it(
    banded,
):
    nothing = boundary_matches(np.zeros((100, 100), int), banded, 2, ignore=IGNORE)
    assert nothing[[0, 1, 3]].sum() == 0
    assert nothing[2].all()
    noisy = square()
    noisy[28, 28] = 1  # a corner of the band, almost three pixels from the border
    # a pixel beside the band
    assert boundary_f(boundary_matches(noisy, banded, 2, ignore=IGNORE)).min() > 0.99


def test_pixels_far_from_any_label_count_nowhere():
    true = square()
    true[:, 80:] = IGNORE
    wild = square()
    wild[::2, 85:] = 1
    assert boundary_f(boundary_matches(wild, true, 2, ignore=IGNORE)).tolist() == [1.0, 1.0]


def test_where_all_is_ignored_there_are_no_boundaries():
    assert boundary_matches(square(), np.full((100, 100), IGNORE), 2).tolist() == [[0, 0]] * 4


def test_seeds_are_drawn_too_where_asked():
    """Pictures alike, so only seeds differ: of A's two, .6 and .4 of the pixels are right, of B's
    .5. The mean of two seeds of A that are drawn is .4, .5 or .6, half of the times .5.
    """
    a = np.full((5, 2, 3, 1), 100)
    b = a.copy()
    a[:, 0, :2], a[:, 1, :2], b[:, :, :2] = 60, 40, 50
    alone = paired_difference(a, b, samples=400, seed=0)
    assert alone == pytest.approx((0.0, 0.0, 0.0, 0.5))
    both = paired_difference(a, b, samples=400, seed=0, resample_seeds=True)
    assert both[:3] == pytest.approx((0.0, -0.1, 0.1))
    assert both.better == pytest.approx(0.5, abs=0.08)
