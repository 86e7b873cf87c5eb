"""GroupViT's inference on hand-built groups."""

import math

import torch

from captionseg.modeling.layers.grouping import to_largest_group
from captionseg.modeling.readout.zero_shot import (
    ZeroShot,
    add_background,
    assign_pixels,
    paint_groups,
    score_classes,
)

GROUPS = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
CLASSES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
IMAGE = torch.tensor([[1.0, 0.0]])  # nearest to class 0, then 1


def paint(scores: torch.Tensor, cells: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return paint_groups(scores, assign_pixels(cells, size))


def softmax(*logits: float) -> list[float]:
    total = sum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def test_the_product_of_both_softmaxes():
    scale = torch.tensor(2.0)
    found = score_classes(GROUPS, IMAGE, CLASSES, scale, top_k=2)
    full, kept = softmax(2, 0, -2), softmax(2, 0)
    torch.testing.assert_close(
        found[0, 0], torch.tensor([full[0] * kept[0], full[1] * kept[1], 0.0])
    )
    full, kept = softmax(0, 2, 0), softmax(0, 2)
    torch.testing.assert_close(
        found[0, 1], torch.tensor([full[0] * kept[0], full[1] * kept[1], 0.0])
    )


def test_all_classes_and_one_softmax():
    found = score_classes(GROUPS, IMAGE, CLASSES, torch.tensor(2.0), top_k=0, score="softmax")
    torch.testing.assert_close(found[0, 0], torch.tensor(softmax(2, 0, -2)))


def test_cosines_of_groups_and_classes():
    found = score_classes(GROUPS, IMAGE, CLASSES, torch.tensor(2.0), score="cosine")
    assert found.tolist() == [[[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]]


def test_fewer_classes_than_are_kept():
    found = score_classes(GROUPS, IMAGE, CLASSES[:2], torch.tensor(2.0), top_k=5, score="softmax")
    torch.testing.assert_close(found[0, 0], torch.tensor(softmax(2, 0)))


def test_a_pixel_has_the_scores_of_its_largest_group():
    scores = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]])
    cells = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # left is group 0, right group 1
    painted = paint(scores, cells, (2, 4))
    torch.testing.assert_close(painted[0, 0], torch.tensor([[0.9, 0.9, 0.2, 0.2]] * 2))


def test_soft_maps_move_the_border_and_hard_maps_do_not():
    scores = torch.tensor([[[1.0], [0.0]]])
    cells = torch.tensor([[[[0.9, 0.45]], [[0.1, 0.55]]]])
    soft, hard = (
        paint(scores, maps, (1, 40))[0, 0, 0].sum() for maps in (cells, to_largest_group(cells))
    )
    assert hard == 20
    assert soft > 24  # .9 to .45 crosses one half near the right end


def test_what_no_class_reaches_is_background():
    scores = torch.tensor([[[0.6, 0.1], [0.2, 0.3]]])
    cells = torch.eye(2)[None, :, None]  # pixel 0 is of group 0, pixel 1 of group 1
    low, high = (
        paint(add_background(scores, torch.tensor([limit])), cells, (1, 2))[0, :, 0]
        for limit in (0.25, 0.6)
    )
    assert low[0].tolist() == [0.0, 0.0]
    assert high[0].tolist() == [0.0, 1.0]
    assert high[:, 1].argmax() == 0


def test_thresholds_of_cosines_mean_something_below_zero_too():
    scores = torch.tensor([[[-0.1, -0.3], [-0.6, -0.5]]])
    cells = torch.eye(2)[None, :, None]
    bounds = ZeroShot(score="cosine").bounds(summed=False)
    assert bounds == (-1.0, 1.0)
    for limit, expected in ((-0.1, [1, 0]), (-0.5, [1, 2]), (-0.55, [1, 2])):
        added = add_background(scores, torch.tensor([limit]), bounds)
        assert paint(added, cells, (1, 2))[0, :, 0].argmax(0).tolist() == expected


def test_bounds_of_scores():
    assert ZeroShot(score="product").bounds(summed=False) == (0.0, 1.0)
    assert ZeroShot(score="softmax").bounds(summed=True) == (0.0, 2.0)
    assert ZeroShot(score="cosine").bounds(summed=True) == (-2.0, 2.0)
