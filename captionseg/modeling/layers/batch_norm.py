"""Batch norm over the batches of all ranks, so that it does not depend on their number."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.runtime import ranks


class BatchNorm(nn.BatchNorm1d):
    """Batch norm (Ioffe and Szegedy 2015) over vectors, whose statistics are those of all ranks.

    It has the parameters and buffers of torch's BatchNorm1d, and is that with a single rank. In
    training all ranks must call it together. Unlike torch's SyncBatchNorm it runs on every device.
    """

    def forward(
        self, input: Float[Tensor, "vector channel"], *, observe: bool = True
    ) -> Float[Tensor, "vector channel"]:
        """Normalise vectors.

        Args:
            input: vectors.
            observe: whether training uses and updates the statistics of these vectors; False uses
                the running statistics as they are.

        Raises:
            ValueError: for a single vector in training (raised by torch).
        """
        if not self.training or not observe:
            mean, variance = self.running_mean, self.running_var
            assert mean is not None
            assert variance is not None
            if self.training:  # a later call of this step may update them before backward
                mean, variance = mean.clone(), variance.clone()
            return F.batch_norm(input, mean, variance, self.weight, self.bias, eps=self.eps)
        if ranks.count_ranks() == 1:
            return super().forward(input)
        x = input.float()
        count = ranks.add_over_ranks(x.new_tensor([float(len(x))]))
        mean = ranks.add_over_ranks(x.sum(0)) / count
        centred = x - mean
        variance = ranks.add_over_ranks(centred.square().sum(0)) / count
        self.update(mean.detach(), variance.detach() * count / (count - 1.0).clamp(min=1.0))
        scaled = centred * (variance + self.eps).rsqrt()
        return (scaled * self.weight + self.bias).to(input.dtype)

    @torch.no_grad()
    def update(self, mean: Float[Tensor, " channel"], variance: Float[Tensor, " channel"]) -> None:
        """Update the running statistics from those of a batch."""
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.lerp_(value, self.momentum or 0.0)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
