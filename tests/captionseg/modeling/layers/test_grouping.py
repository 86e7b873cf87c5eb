"""Assignments by hand: each token to one group, groups as means, gradients straight through."""

import pytest
import torch

from captionseg.modeling.layers.grouping import (
    Assignment,
    Grouping,
    Slots,
    TokenMixer,
    add_gumbel_noise,
    average_groups,
    compose_assignments,
    gather_own_group,
    hard_assignment,
)

LOGITS = torch.tensor([[[2.0, 0.0, 1.0], [1.0, 3.0, 0.0]]])  # two groups, three tokens


def test_each_token_goes_to_its_largest_group():
    assert hard_assignment(LOGITS.softmax(1)).tolist() == [[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]


def test_the_gradient_of_a_hard_assignment_is_that_of_the_softmax():
    weight = torch.randn(1, 2, 3)
    gradients = []
    for form in (lambda x: hard_assignment(x.softmax(1)), lambda x: x.softmax(1)):
        logits = LOGITS.clone().requires_grad_()
        (form(logits) * weight).sum().backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(*gradients)


def test_gumbel_noise_draws_from_the_softmax():
    torch.manual_seed(0)
    drawn = hard_assignment(add_gumbel_noise(LOGITS.expand(20_000, -1, -1)).softmax(1)).mean(0)
    torch.testing.assert_close(drawn, LOGITS[0].softmax(0), atol=0.015, rtol=0)


def test_noise_is_float32_whatever_the_logits_are():
    assert add_gumbel_noise(LOGITS.bfloat16()).dtype == torch.float32


def test_means_of_groups_by_hand_and_an_empty_group_is_finite():
    chosen = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    values = torch.tensor([[[2.0], [4.0], [9.0]]])
    # GroupViT: one more than there are
    assert average_groups(chosen, values, 1.0)[0, :, 0].tolist() == [2.0, 4.5, 0.0]
    exact = average_groups(chosen, values, 1e-6)[0, :, 0]
    torch.testing.assert_close(exact, torch.tensor([3.0, 9.0, 0.0]), rtol=1e-5, atol=0)


def test_logits_are_float32_under_mixed_precision():
    """bf16 has 8 bits: products of 60 and more would be whole numbers."""
    torch.manual_seed(0)
    net = Assignment(8, assign="soft").requires_grad_(False)
    slots, tokens = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(slots, slots, tokens)
        queries, keys = net.q_proj(slots).float(), net.k_proj(tokens).float()
    expected = (queries @ keys.transpose(1, 2) * 8**-0.5).softmax(1)
    assert found.soft.dtype == torch.float32
    torch.testing.assert_close(found.soft, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("assign", ["gumbel", "soft"])
def test_soft_assignments_sum_to_one_over_groups(assign):
    torch.manual_seed(0)
    slots = torch.randn(2, 3, 8)
    out = Assignment(8, assign=assign)(slots, slots, torch.randn(2, 5, 8))
    torch.testing.assert_close(out.soft.sum(1), torch.ones(2, 5))
    assert out.groups.shape == (2, 3, 8)


@pytest.mark.parametrize("assign", ["gumbel", "soft"])
@pytest.mark.parametrize("kind", ["grouping", "slots"])
def test_masked_tokens_belong_nowhere(kind, assign):
    torch.manual_seed(0)
    net = (
        Grouping(8, 2, 3, 3, assign=assign) if kind == "grouping" else Slots(8, assign=assign)
    ).eval()
    x, tokens = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    short, padded = net(x[:, :3], tokens), net(x, tokens, mask)
    torch.testing.assert_close(padded.groups, short.groups)
    torch.testing.assert_close(padded.soft[..., :3], short.soft)
    assert (padded.soft[..., 3:] == 0).all()


def test_slots_are_eq_3_to_6_by_hand():
    net = Slots(2, eps=0.0)
    with torch.no_grad():
        for layer in (net.assign.q_proj, net.assign.k_proj, net.assign.v_proj, net.assign.proj):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    x, groups = (
        torch.tensor([[[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]]]),
        torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]]),
    )
    unit = torch.tensor([1.0, -1.0])  # rows are already standardised: norms leave them
    # own group, other group
    a = torch.softmax(torch.stack([unit @ unit, -(unit @ unit)]) / 2**0.5, 0)
    own, other = a.tolist()
    first = (2 * own - other) / (2 * own + other)  # two tokens like group 0, one like group 1
    second = (own - 2 * other) / (own + 2 * other)
    expected = groups + torch.stack([first * unit, -second * unit])[None]
    torch.testing.assert_close(net(x, groups).groups, expected, rtol=1e-4, atol=1e-4)


def test_maps_of_stages_are_composed_by_their_product():
    first = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]])
    second = torch.tensor([[[1.0, 0.25], [0.0, 0.75]]])
    assert compose_assignments([first, second]).tolist() == [
        [[1.0, 0.25, 0.625], [0.0, 0.75, 0.375]]
    ]
    assert compose_assignments([first]) is first


def test_the_mixer_works_on_the_axis_of_tokens():
    net, x = TokenMixer(4, 6, 3), torch.randn(2, 4, 5)
    assert net(x).shape == (2, 3, 5)
    torch.testing.assert_close(net(x)[:, :, 2], net.mlp(x[:, :, 2]))


@pytest.mark.parametrize("kind", ["grouping", "slots"])
def test_a_member_is_the_group_that_has_no_other_token(kind):
    """Its own assignment aside: the group takes all of it, as if it were the only one there."""
    torch.manual_seed(0)
    net = (
        Grouping(8, 2, 3, 3, assign="soft", eps=0.0) if kind == "grouping" else Slots(8, eps=0.0)
    ).eval()
    x, tokens = torch.randn(1, 5, 8), torch.randn(1, 3, 8)
    found = net(x, tokens)
    members = net.members(found)
    assert members.shape == (1, 5, 8)
    if kind == "slots":  # its slots do not depend on the other tokens
        for n in range(5):
            alone = net(x[:, n : n + 1], tokens)
            torch.testing.assert_close(
                members[:, n : n + 1], gather_own_group(alone.soft, alone.groups)
            )
