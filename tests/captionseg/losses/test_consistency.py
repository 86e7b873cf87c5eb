"""Dice, matching and their sum, by hand and by brute force."""

import math
from itertools import permutations

import pytest
import torch

from captionseg.losses.consistency import (
    dice_loss,
    group_consistency_loss,
    mask_consistency_loss,
    match_masks,
    released_mask_loss,
)

ALL = torch.ones(4, dtype=torch.bool)


def test_dice_by_hand():
    target = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert dice_loss(target, target, ALL) == 0.0
    assert dice_loss(target, 1 - target, ALL) == 1.0
    torch.testing.assert_close(
        dice_loss(target, torch.tensor([0.5, 0.0, 0.5, 0.0]), ALL), torch.tensor(1 - 1.0 / 3.0)
    )
    assert dice_loss(torch.zeros(4), torch.zeros(4), ALL) == 0.0
    half = torch.tensor([True, False, True, False])
    torch.testing.assert_close(
        dice_loss(target, torch.tensor([1.0, 0.0, 0.5, 0.0]), half), torch.tensor(1 - 2 / 2.5)
    )


def test_matching_is_the_best_of_all_permutations():
    torch.manual_seed(0)
    own, other = torch.rand(5, 4, 7), torch.rand(5, 4, 7)
    found = match_masks(own, other)
    cosine = torch.nn.functional.normalize(own, dim=2) @ torch.nn.functional.normalize(
        other, dim=2
    ).transpose(1, 2)
    for row in range(5):
        best = max(
            permutations(range(4)), key=lambda p: sum(cosine[row, k, p[k]] for k in range(4))
        )
        assert found[row].tolist() == list(best)


def test_the_order_of_masks_does_not_matter_and_equal_masks_cost_nothing():
    target = torch.tensor([[[0.9, 0.8, 0.1], [0.1, 0.2, 0.9]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    exact = (target > 0.65).float()
    for predicted in (exact, exact.flip(1)):
        assert mask_consistency_loss(target, predicted, mask, threshold=0.65).item() == 0.0


def test_both_thresholds():
    target = torch.tensor([[[0.4, 0.3, 0.1]]])
    mask, predicted = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[[1.0, 1.0, 0.0]]])
    # nothing is above
    assert mask_consistency_loss(target, predicted, mask, threshold=0.65).item() == 1.0
    # .24: two are
    assert (
        mask_consistency_loss(target, predicted, mask, threshold=0.6, relative=True).item() == 0.0
    )


def test_gradients_reach_predictions_alone():
    target = torch.rand(2, 3, 5, requires_grad=True)
    predicted = torch.rand(2, 3, 5, requires_grad=True)
    mask_consistency_loss(
        target, predicted, torch.ones(2, 5, dtype=torch.bool), threshold=0.5
    ).sum().backward()
    assert target.grad is None
    assert predicted.grad.abs().sum() > 0


def test_tokens_that_are_not_there_change_nothing():
    torch.manual_seed(0)
    target, predicted = torch.rand(2, 3, 5), torch.rand(2, 3, 5)
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    short = mask_consistency_loss(target[..., :3], predicted[..., :3], mask[:, :3], threshold=0.5)
    torch.testing.assert_close(mask_consistency_loss(target, predicted, mask, threshold=0.5), short)


def test_the_released_loss_by_hand():
    """Sigmoids .88, .5, .12 are above .6 of .88 once. Predictions become 0, 1 and 1/2."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    target, predicted = torch.tensor([[[2.0, 0.0, -2.0]]]), torch.tensor([[[1.0, 3.0, 2.0]]])
    found = released_mask_loss(target, predicted, mask, threshold=0.6)
    assert found.item() == pytest.approx(1 - 1 / (1 + 1.5 + 1))
    # a second mask, of which the prediction is right, counts together with the first
    target = torch.cat([target, torch.tensor([[[-4.0, 4.0, -4.0]]])], 1)
    predicted = torch.cat([torch.tensor([[[0.0, 8.0, 0.0]]]), predicted.flip(2)], 1)
    found = released_mask_loss(target, predicted, mask, threshold=0.6)
    # matched in the other order: 1/2, 1, 0 for the first target and 0, 1, 0 for the second
    assert found.item() == pytest.approx(1 - (2 * (0.5 + 1) + 1) / (2 + 2.5 + 1))


def test_tokens_that_pad_change_no_released_loss_and_none_is_finite():
    torch.manual_seed(0)
    target, predicted = torch.randn(2, 3, 5), torch.randn(2, 3, 5, requires_grad=True)
    mask = torch.tensor([[True, True, True, False, False], [False] * 5])
    found = released_mask_loss(target, predicted, mask, threshold=0.6)
    short = released_mask_loss(
        target[..., :3], predicted[..., :3], torch.ones(2, 3, dtype=torch.bool), threshold=0.6
    )
    torch.testing.assert_close(found[0], short[0])
    found.sum().backward()
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[0] != 0).any()
    assert (predicted.grad[:, :, 3:] == 0).all()


def test_group_consistency_by_hand():
    """Two pictures of two groups: the first picture's groups are matched crosswise with those of
    the second, and its own are no negatives.
    """
    own = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    other = torch.tensor([[[0.0, 1.0], [0.6, 0.8]]])
    every = torch.cat([own, other])
    found = group_consistency_loss(own, other, every, torch.tensor([0]), temperature=0.5)
    # matched: (1, 0) with (.6, .8), (0, 1) with (0, 1); cosines with both of the other picture
    first = math.log(math.exp(0.0) + math.exp(1.2)) - 1.2
    second = math.log(math.exp(2.0) + math.exp(1.6)) - 2.0
    torch.testing.assert_close(found, torch.tensor([(first + second) / 2]))
