"""TCL's grounder: the training-free map at the start, in whichever form, and the published
sizes."""

from __future__ import annotations

import pytest
import torch

from captionseg.encoders.dense_head import DenseHead, HeadConfig
from captionseg.modeling.layers.tcl_grounder import Grounder, GrounderConfig

HEADS = [HeadConfig(6, 5), HeadConfig(6, 5, hidden=9, quick=True)]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gate": 1.0},
        {"blocks": 2, "factor": 2, "convs": 2, "conv": "full"},
        {"blocks": 2, "factor": 2, "adapter": 0},
        {"blocks": 0},
    ],
)
def test_at_the_start_it_is_the_frozen_map_repeated(head, changes):
    torch.manual_seed(0)
    frozen, config = DenseHead(head), GrounderConfig(head, **changes)
    for parameter in frozen.parameters():
        parameter.data.normal_()
    net, dense = Grounder(config).eval(), torch.randn(2, 3, 4, 6)
    net.start(frozen)
    times = config.factor**config.blocks
    expected = frozen(dense).movedim(-1, 1).repeat_interleave(times, 2).repeat_interleave(times, 3)
    torch.testing.assert_close(net(dense), expected, rtol=0, atol=0)


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_it_can_leave_the_start(gate):
    """Some parameter behind each gate, or the gate itself, has a gradient."""
    torch.manual_seed(0)
    net = Grounder(GrounderConfig(HEADS[0], gate=gate))
    net(torch.randn(2, 3, 4, 6)).square().mean().backward()
    for gated in (net.adapter, net.decoder[0][0]):
        assert max(float(p.grad.abs().max()) for p in gated.parameters()) > 0


def parameters(config: GrounderConfig) -> int:
    return sum(p.numel() for p in Grounder(config).decoder.parameters())


def test_the_decoders_as_published():
    tcl = GrounderConfig(HeadConfig(768, 512), blocks=2, factor=2, convs=2, conv="full", adapter=0)
    code = GrounderConfig(HeadConfig(768, 512), blocks=2, factor=2, convs=1, conv="full", adapter=0)
    assert round(parameters(tcl) / 1e6, 1) == 21.2
    assert round(parameters(code) / 1e6, 1) == 10.6


def test_all_cells_of_a_picture_lose_the_same_features():
    torch.manual_seed(0)
    net = Grounder(GrounderConfig(HeadConfig(6, 6), blocks=0, adapter=0, dropout=0.5))
    found = net(torch.ones(4, 3, 3, 6))
    assert set(found.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(found, found[:, :, :1, :1].expand_as(found))
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("changes", [{"blocks": -1}, {"factor": 0}, {"convs": 0}])
def test_sizes_that_mean_nothing_are_refused(changes):
    with pytest.raises(ValueError, match="grounder: blocks and adapter must not be below 0"):
        GrounderConfig(**changes)
