"""LLN merging and mask pooling: by hand, and pooling first against pooling the merged map."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from captionseg.modeling.layers.merging import Lln, SegmentEncoder, pool_weights, resize_map


def test_weights_are_shares_of_a_segments_area():
    masks = torch.tensor([[[[1.0, 0.5], [0.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]]]])
    assert pool_weights(masks).flatten(2)[0].tolist() == [[0.5, 0.25, 0.0, 0.25], [0.0] * 4]


def test_pooling_by_hand():
    """One block with maps to itself: the mean of normalised cells, weighted by area."""
    lln = Lln([2], 2)
    lln.linears[0].weight.data, lln.linears[0].bias.data = torch.eye(2), torch.zeros(2)
    dense = torch.tensor([[[[3.0, 1.0], [0.0, 4.0]]]])  # after the norm (1, -1) and (-1, 1)
    masks = torch.tensor([[[[1.0, 1.0]], [[0.25, 0.0]], [[0.3, 0.1]]]])
    found = lln([dense], pool_weights(masks))
    torch.testing.assert_close(
        found, torch.tensor([[[0.0, 0.0], [1.0, -1.0], [0.5, -0.5]]]), rtol=0, atol=1e-4
    )


def naive(net: SegmentEncoder, towers, masks, cls):
    """z of every cell, [CLS] repeated in each, then the pool, then the head."""
    grid, cells = masks.shape[2:], []
    for number, (lln, maps) in enumerate(zip(net.towers, towers, strict=True)):
        up = [
            F.interpolate(x.permute(0, 3, 1, 2), grid, mode="bilinear").permute(0, 2, 3, 1)
            for x in maps
        ]
        cells.append(
            sum(
                alpha * linear(norm(x))
                for alpha, linear, norm, x in zip(
                    lln.scale, lln.linears, lln.norms, up, strict=True
                )
            )
        )
        if cls:
            cells.append(cls[number][:, None, None].expand(-1, *grid, -1))
    z = torch.cat(cells, 3)
    pooled = (masks[..., None] * z[:, None]).sum((2, 3)) / masks.sum((2, 3))[..., None]
    return net.head(pooled)


@pytest.mark.parametrize("with_cls", [True, False])
@pytest.mark.parametrize("width", [0, 6])
def test_pooling_commutes_with_all_that_is_linear(with_cls, width):
    """Projected cells pooled = pooled cells projected, for blocks on several grids in two
    towers."""
    torch.manual_seed(0)
    widths = [[4, 3, 4], [7, 5]]
    net = SegmentEncoder(widths, 8, width=width, cls=[4, 5] if with_cls else [])
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    grids = [[(6, 5), (6, 5), (3, 2)], [(4, 4), (6, 5)]]
    towers = [
        [torch.randn(2, *g, w) for g, w in zip(gs, ws, strict=True)]
        for gs, ws in zip(grids, widths, strict=True)
    ]
    masks, cls = torch.rand(2, 9, 6, 5), [torch.randn(2, 4), torch.randn(2, 5)] if with_cls else []
    found = net(towers, masks, cls)
    torch.testing.assert_close(found, naive(net, towers, masks, cls), rtol=0, atol=1e-5)
    scaled = net(towers, 0.1 * masks, cls)
    # shares of a segment, whatever its area
    torch.testing.assert_close(scaled, found, rtol=0, atol=1e-5)


def test_the_published_size():
    """30 LLN of 1024, block scales, a head of 4096 to 768: 34.7 M."""
    with torch.device("meta"):
        net = SegmentEncoder([[1024] * 24, [1024] * 6], 768, cls=[1024, 1024])
    assert net.head.in_features == 4096
    llns = 30 * (1024 * 1024 + 1024 + 2 * 1024)
    assert sum(p.numel() for p in net.parameters()) == llns + 30 + 4096 * 768 + 768
    assert net.towers[0].scale.shape == (24,)


def test_a_segment_that_is_nowhere_is_finite():
    torch.manual_seed(0)
    found = SegmentEncoder([[3]], 4)([[torch.randn(1, 2, 2, 3)]], torch.zeros(1, 1, 2, 2))
    assert torch.isfinite(found).all()


def test_maps_of_the_right_grid_are_left_alone():
    x = torch.randn(1, 2, 3, 4)
    assert resize_map(x, (2, 3)) is x
    assert resize_map(x, (4, 6)).shape == (1, 4, 6, 4)


def test_dropout_is_the_same_for_all_segments_of_a_picture():
    torch.manual_seed(0)
    net = SegmentEncoder([[3]], 3, dropout=0.5)
    net.head.weight.data, net.head.bias.data = torch.eye(3), torch.zeros(3)
    net.towers[0].linears[0].bias.data += 5.0
    gone = net([[torch.randn(20, 2, 2, 3)]], torch.rand(20, 4, 2, 2)) == 0
    assert (gone == gone[:, :1]).all()
    assert 0.2 < gone.float().mean() < 0.8
    assert not (net.eval()([[torch.randn(20, 2, 2, 3)]], torch.rand(20, 4, 2, 2)) == 0).any()
