"""Batch norm of one process, which is torch's; test_ranks.py has that of two."""

import torch

from captionseg.modeling.layers.batch_norm import BatchNorm


def test_one_rank_has_torchs_batch_norm_and_its_state():
    torch.manual_seed(0)
    own, torchs = BatchNorm(4), torch.nn.BatchNorm1d(4)
    own.load_state_dict(torchs.state_dict())
    for _ in range(2):
        x = torch.randn(6, 4)
        assert torch.equal(own(x), torchs(x))
    assert all(torch.equal(v, own.state_dict()[k]) for k, v in torchs.state_dict().items())
    assert torch.equal(own.eval()(x), torchs.eval()(x))


def test_vectors_that_are_not_observed_are_normalised_by_what_was():
    torch.manual_seed(0)
    net = BatchNorm(4)
    net(torch.randn(6, 4))
    before = {name: value.clone() for name, value in net.named_buffers()}
    x = torch.randn(3, 4, requires_grad=True)
    found = net(x, observe=False)
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    net(torch.randn(6, 4))  # updates statistics before the backward pass
    found.square().sum().backward()
    mean, variance = before["running_mean"], before["running_var"]
    torch.testing.assert_close(found, (x - mean) / (variance + 1e-5).sqrt())
    torch.testing.assert_close(x.grad, 2.0 * (x.detach() - mean) / (variance + 1e-5))
