"""Stages, first tokens and members of the encoder of group models."""

import pytest
import torch

from captionseg.modeling.towers.group_encoder import EncoderConfig, GroupEncoder

BASE = {"region_width": 5, "width": 8, "heads": 2, "dropout": 0.0}


def test_maps_of_each_stage_and_their_sizes():
    net = GroupEncoder(
        EncoderConfig(**BASE, depths=[1, 1, 0], group_tokens=[4, 2, 0], groups=[4, 2])
    )
    encoded = net.eval()(None, torch.randn(2, 6, 5), torch.ones(2, 6, dtype=torch.bool))
    assert [m.shape for m in encoded.maps] == [(2, 4, 6), (2, 2, 4)]
    assert encoded.groups.shape == (2, 2, 8)
    assert net.members(encoded).shape == (2, 6, 8)
    assert encoded.grid is None


def test_members_cost_nothing_unless_asked_for(monkeypatch):
    net = GroupEncoder(EncoderConfig(**BASE)).eval()
    asked = []
    monkeypatch.setattr(
        net.stages[0].grouping, "members", lambda found: asked.append(1) or found.values
    )
    encoded = net(None, torch.randn(1, 3, 5), torch.ones(1, 3, dtype=torch.bool))
    assert not asked
    net.members(encoded)
    assert asked


@pytest.mark.parametrize("drop", [0.0, 0.2])
def test_drop_path_rises_over_all_stages(drop):
    net = GroupEncoder(
        EncoderConfig(**BASE, depths=[2, 1], group_tokens=[4, 0], groups=[4], drop_path=drop)
    )
    rates = [block.drop_path for stage in net.stages for block in stage.blocks]
    assert rates == pytest.approx([0.0, drop / 2, drop])


def test_initial_weights_of_all_stages_have_the_deviation_that_is_set():
    net = GroupEncoder(
        EncoderConfig(
            region_width=5,
            width=64,
            depths=[1, 1],
            group_tokens=[4, 0],
            groups=[4],
            binding="groupvit",
            weight_std=0.05,
        )
    )
    weights = [w.detach().flatten() for w in net.stages.parameters() if w.ndim == 2]
    assert float(torch.cat(weights).std()) == pytest.approx(0.05, rel=0.02)
