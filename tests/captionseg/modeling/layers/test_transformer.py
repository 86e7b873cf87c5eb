"""Blocks against torch's own attention, and what must not change anything."""

import pytest
import torch
from torch import nn

from captionseg.modeling.layers.transformer import (
    Block,
    CrossAttention,
    CrossBlock,
    Mlp,
    Projector,
    SelfAttention,
)


def test_self_attention_is_torchs():
    ours, theirs = SelfAttention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    x, mask = torch.randn(2, 5, 12), torch.tensor([[True] * 5, [True, True, False, True, False]])
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])
    torch.testing.assert_close(ours(x, mask), theirs(x, x, x, key_padding_mask=~mask)[0])


def test_cross_attention_is_torchs():
    ours, theirs = CrossAttention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([m.weight for m in (ours.q, ours.k, ours.v)]))
        theirs.in_proj_bias.copy_(torch.cat([m.bias for m in (ours.q, ours.k, ours.v)]))
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    query, tokens = torch.randn(2, 3, 12), torch.randn(2, 6, 12)
    torch.testing.assert_close(ours(query, tokens), theirs(query, tokens, tokens)[0])


def test_causal_attention_sees_nothing_that_follows():
    attention, x = SelfAttention(8, 2, causal=True), torch.randn(1, 5, 8)
    changed = x.clone()
    changed[:, 3:] = 0
    torch.testing.assert_close(attention(x)[:, :3], attention(changed)[:, :3])


def test_a_masked_token_is_not_there():
    block, x = Block(8, 2).eval(), torch.randn(2, 4, 8)
    mask = torch.tensor([[True, True, True, False]] * 2)
    torch.testing.assert_close(block(x, mask)[:, :3], block(x[:, :3]))
    cross, query = CrossBlock(8, 2), torch.randn(2, 3, 8)
    torch.testing.assert_close(cross(query, x, mask), cross(query, x[:, :3]))


def test_drop_path_drops_whole_branches_of_samples_and_keeps_their_mean():
    torch.manual_seed(0)
    block, x = Block(8, 2, drop_path=0.25).train(), torch.ones(4000, 2, 8)
    kept = block.drop_branch(x)
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert (kept == kept[:, :1, :1]).all()
    assert kept.mean().item() == pytest.approx(1.0, abs=0.03)
    assert block.eval().drop_branch(x) is x


def test_both_forms_of_gelu():
    exact, quick = Mlp(1, 1), Mlp(1, 1, quick=True)
    for mlp in (exact, quick):
        for p, value in zip(mlp.parameters(), (1.0, 0.0, 1.0, 0.0), strict=True):
            nn.init.constant_(p, value)
    x = torch.tensor([[1.0]])
    # x times the normal distribution function
    assert exact(x).item() == pytest.approx(0.8413447, abs=1e-6)
    assert quick(x).item() == pytest.approx(1 / (1 + torch.e**-1.702), abs=1e-6)


def test_a_projector_takes_vectors_of_any_shape():
    net = Projector(6, 10, 4, norm="batch").eval()
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(net(x)[1, 2], net(x[1, 2:])[0])


def test_batch_statistics_are_over_all_vectors_of_a_call():
    net = Projector(6, 10, 4, norm="batch").train()
    x = torch.randn(8, 6)
    torch.testing.assert_close(net(x.unflatten(0, (2, 4))).flatten(0, 1), net(x))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(x[:1])
