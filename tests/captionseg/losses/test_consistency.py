"""Dice, matching and their sum, by hand and by brute force."""

from itertools import permutations

import torch

from captionseg.losses.consistency import dice_loss, mask_consistency_loss, match_masks

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
