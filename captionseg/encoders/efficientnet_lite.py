"""EfficientNet-Lite0 (Tan and Le 2019; the Lite variant has no squeeze-and-excitation and ReLU6) at
output stride 16.

It is timm's tf_efficientnet_lite0 for inference, written anew because importing timm takes as long
as importing torch: timm brings torchvision and torch._dynamo.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-3  # of batch norms, as in TensorFlow


class Stage(NamedTuple):
    """Blocks of equal width.

    Attributes:
        blocks: their number.
        kernel: side of the depthwise kernels.
        stride: of the first block.
        dilations: of the first block and of the others.
        expansion: width inside of a block as a multiple of its input's.
        width: output channels.
    """

    blocks: int
    kernel: int
    stride: int
    dilations: tuple[int, int]
    expansion: int
    width: int


STEM, HEAD = 32, 1280
STAGES = (
    Stage(1, 3, 1, (1, 1), 1, 16),
    Stage(2, 3, 2, (1, 1), 6, 24),
    Stage(2, 5, 2, (1, 1), 6, 40),
    Stage(3, 3, 2, (1, 1), 6, 80),
    Stage(3, 5, 1, (1, 1), 6, 112),
    Stage(4, 5, 1, (1, 2), 6, 192),  # at stride 32 its first block has stride 2
    Stage(1, 3, 1, (2, 2), 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding SAME: what does not divide by two goes to the right
    and below.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps [B, C, h, w]."""
        (height, width), stride = x.shape[2:], self.stride[0]
        reach = self.dilation[0] * (self.kernel_size[0] - 1)
        down, right = (
            max((-(-side // stride) - 1) * stride + reach + 1 - side, 0) for side in (height, width)
        )
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def make_layers(
    width: int,
    out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activated: bool = True,
) -> Iterator[nn.Module]:
    """Yield a convolution, its batch norm and, if `activated`, ReLU6."""
    kind, padding = (SameConv, 0) if stride > 1 else (nn.Conv2d, dilation * (kernel - 1) // 2)
    yield kind(width, out, kernel, stride, padding, dilation, groups, bias=False)
    yield nn.BatchNorm2d(out, EPSILON)
    if activated:
        yield nn.ReLU6(inplace=True)


class Block(nn.Module):
    """A mobile inverted bottleneck: wider, depthwise, narrow; with a shortcut if the shape stays.

    Args:
        width: input channels.
        stage: see Stage.
        first: whether it is the first block of its stage.
    """

    def __init__(self, width: int, stage: Stage, *, first: bool) -> None:
        super().__init__()
        stride, inner = stage.stride if first else 1, width * stage.expansion
        self.is_residual = stride == 1 and width == stage.width
        self.layers = nn.Sequential(
            *(make_layers(width, inner) if stage.expansion > 1 else ()),
            *make_layers(
                inner,
                inner,
                kernel=stage.kernel,
                stride=stride,
                dilation=stage.dilations[0 if first else 1],
                groups=inner,
            ),
            *make_layers(inner, stage.width, activated=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h / stride, w / stride]."""
        return self.layers(x) + x if self.is_residual else self.layers(x)


class EfficientNetLite0(nn.Module):
    """The network without its classifier. Tensors of its state dict have timm's order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*make_layers(3, STEM, kernel=3, stride=2))
        stages, width = [], STEM
        for stage in STAGES:
            blocks = [Block(width, stage, first=True)]
            blocks += [Block(stage.width, stage, first=False) for _ in range(1, stage.blocks)]
            stages.append(nn.Sequential(*blocks))
            width = stage.width
        self.stages = nn.ModuleList(stages)
        self.head = nn.Sequential(*make_layers(width, HEAD))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map of the last stage but two, [B, 112, h, w], and the head map [B, 1280, h,
        w], of pictures [B, 3, 16 h, 16 w].
        """
        maps, x = [], self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[-3], self.head(x)
