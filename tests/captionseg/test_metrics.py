import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from captionseg.metrics import areas, bootstrap, interval, iou, mean_iou, pixel_accuracy

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
    # counted pairs (predicted, true): (0,0) (0,1) (1,1) (1,1) (1,0); the 2 stands on an ignored pixel
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
    assert areas(np.array([7]), np.array([255]), 2).sum() == 0  # what lies on ignored pixels is nobody's business


def test_bootstrap_draws_as_many_images_as_there_are():
    one_pixel_each = np.zeros((10, 3, 2), np.int64)
    one_pixel_each[:, 2, 0] = 1
    drawn = bootstrap(one_pixel_each, samples=50, seed=0)
    assert drawn.shape == (50, 3, 2)
    assert np.array_equal(drawn[:, 2, 0], np.full(50, 10.0))


def test_bootstrap_weights_are_the_same_for_all_columns():
    rng = np.random.default_rng(0)
    once = rng.integers(0, 9, (12, 3, 4))
    drawn = bootstrap(np.stack([once, 2 * once], axis=1), samples=20, seed=3)  # two seeds of one recipe
    np.testing.assert_allclose(drawn[:, 1], 2 * drawn[:, 0])
    np.testing.assert_array_equal(drawn, bootstrap(np.stack([once, 2 * once], axis=1), samples=20, seed=3))
    assert not np.array_equal(drawn[:, 0], bootstrap(once, samples=20, seed=4))


def test_bootstrap_of_equal_images_has_no_spread():
    same = np.repeat(areas(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)[None], 8, axis=0)
    values = mean_iou(bootstrap(same, samples=30, seed=0))
    np.testing.assert_allclose(values, mean_iou(same.sum(0)))


def test_interval_is_of_percentiles():
    assert interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert interval(np.arange(101.0), 0.5) == pytest.approx((25.0, 75.0))
