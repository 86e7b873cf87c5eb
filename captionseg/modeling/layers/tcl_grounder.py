"""TCL's grounder: a copy of the encoder's last block, a gated upsampling decoder, and a copy of its
projection (Cha et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.dense_head import DenseHead, HeadConfig
from captionseg.typed import Count, Finite, Natural, ShareBelowOne

Conv = Literal["full", "depthwise"]


@dataclass(frozen=True)
class GrounderConfig:
    """Configuration of a Grounder; the defaults are for features of a small encoder.

    Attributes:
        head: config of the frozen encoder's head, which is copied.
        blocks: number of blocks of the decoder; the paper has 2.
        factor: upsampling factor of each block; the paper has 2.
        convs: number of convolutions per block; TCL's released code has 2, CoDe's 1.
        conv: kind of convolution: full or depthwise.
        adapter: hidden width of an MLP over each cell before the decoder; 0, as in the paper, has
            none.
        dropout: channel dropout of the features in training; the paper has none.
        gate: initial value of the gates before tanh, 0 in the paper. With another value, the last
            layer behind each gate is initialised to zero instead. Both start from MaskCLIP's map,
            but the second trains in fewer steps.
    """

    head: HeadConfig = field(default_factory=HeadConfig)
    blocks: Natural = 1
    factor: Count = 1
    convs: Count = 1
    conv: Conv = "depthwise"
    adapter: Natural = 256
    dropout: ShareBelowOne = 0.5
    gate: Finite = 1.0

    def __post_init__(self) -> None:
        if min(self.blocks, self.adapter) < 0 or min(self.factor, self.convs) < 1:
            raise ValueError(
                "grounder: blocks and adapter must not be below 0, factor and convs not below 1"
            )


class GatedResidual(nn.Module):
    """x + tanh(g) f(x), initialised to x: either g is 0, or the last layer of f is.

    Args:
        inner: f.
        last: last layer of f.
        gate: initial value of g.
    """

    def __init__(self, inner: nn.Module, last: nn.Module, gate: float) -> None:
        super().__init__()
        self.inner, self.gate = inner, nn.Parameter(torch.tensor(gate))
        if gate:
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Apply the gated residual to a tensor of any shape that f accepts."""
        return x + torch.tanh(self.gate) * self.inner(x)


class NormedConv(nn.Module):
    """A layer norm over channels, GELU, and a 3x3 convolution."""

    def __init__(self, width: int, conv: Conv) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(
            width, width, 3, padding=1, groups=width if conv == "depthwise" else 1
        )

    def forward(
        self, x: Float[Tensor, "batch feature rows columns"]
    ) -> Float[Tensor, "batch feature rows columns"]:
        """Apply norm, activation and convolution."""
        return self.conv(F.gelu(self.norm(x.movedim(1, -1)).movedim(-1, 1)))


def gated_mlp(width: int, config: GrounderConfig) -> GatedResidual:
    """Build the gated MLP over cells."""
    last = nn.Linear(config.adapter, width)
    first = nn.Linear(width, config.adapter)
    return GatedResidual(
        nn.Sequential(nn.LayerNorm(width), first, nn.GELU(), last), last, config.gate
    )


def gated_conv(width: int, config: GrounderConfig) -> GatedResidual:
    """Build a gated convolution of the decoder."""
    inner = NormedConv(width, config.conv)
    return GatedResidual(inner, inner.conv, config.gate)


class Grounder(nn.Module):
    """Maps dense features to the joint space, on the same or a finer grid, not normalised."""

    def __init__(self, config: GrounderConfig) -> None:
        super().__init__()
        width, self.factor = config.head.width, config.factor
        self.head, self.dropout = DenseHead(config.head), nn.Dropout(config.dropout)
        self.adapter = gated_mlp(width, config) if config.adapter else nn.Identity()
        self.decoder = nn.ModuleList(
            nn.Sequential(*(gated_conv(width, config) for _ in range(config.convs)))
            for _ in range(config.blocks)
        )

    def start(self, head: DenseHead) -> None:
        """Copy the frozen head."""
        self.head.load_state_dict(head.state_dict())

    def forward(
        self, dense: Float[Tensor, "batch rows columns feature"]
    ) -> Float[Tensor, "batch embedding _rows _columns"]:
        """Return features of the joint space; the grid is finer by factor ** blocks."""
        x = self.head.block(dense)
        if self.training and self.dropout.p:
            x = x * self.dropout(torch.ones_like(x[:, :1, :1]))
        x = self.adapter(x).movedim(-1, 1)
        for block in self.decoder:
            if self.factor > 1:
                x = F.interpolate(x, scale_factor=self.factor, mode="nearest")
            x = block(x)
        return self.head.project(x.movedim(1, -1)).movedim(-1, 1)
