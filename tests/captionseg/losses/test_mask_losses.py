"""Priors of masks by hand, and the gradient of hard ones."""

import torch

from captionseg.losses.mask_losses import area_prior_loss, harden_masks, total_variation


def test_the_area_is_a_mean_over_all_masks_that_count():
    area, counted = torch.tensor([0.9, 0.3, 0.0]), torch.tensor([2, 1, 0])
    torch.testing.assert_close(area_prior_loss(area, counted, 0.25), torch.tensor(0.15))  # 1.2 / 3
    torch.testing.assert_close(area_prior_loss(area, counted, 0.5), torch.tensor(0.1))


def test_no_mask_no_prior():
    area = torch.zeros(2, requires_grad=True)
    loss = area_prior_loss(area, torch.zeros(2), 0.4)
    loss.backward()
    assert loss.item() == 0.0
    assert area.grad.tolist() == [0.0, 0.0]


def test_total_variation_is_the_mean_step_down_plus_the_mean_step_right():
    maps = torch.tensor([[[0.0, 1.0], [3.0, 1.0]]])
    torch.testing.assert_close(
        total_variation(maps), torch.tensor((3.0 + 0.0) / 2 + (1.0 + 2.0) / 2)
    )
    assert total_variation(torch.ones(2, 5, 5)).item() == 0.0
    assert total_variation(torch.tensor([[[4.0]]])).item() == 0.0  # a single cell has no neighbour
    torch.testing.assert_close(total_variation(torch.tensor([[[1.0, 4.0]]])), torch.tensor(3.0))


def test_hard_masks_have_the_gradient_of_soft_ones():
    logits = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    masks = harden_masks(logits, noise=0.0)
    assert masks.tolist() == [0.0, 1.0, 1.0]
    masks.sum().backward()
    soft = logits.detach().sigmoid()
    torch.testing.assert_close(logits.grad, soft * (1 - soft))


def test_noise_is_logistic():
    """A mask of logit b is on with probability sigmoid(b)."""
    torch.manual_seed(0)
    for logit in (-1.0, 0.0, 2.0):
        share = harden_masks(torch.full((20_000,), logit)).mean()
        torch.testing.assert_close(share, torch.tensor(logit).sigmoid(), atol=0.015, rtol=0)
