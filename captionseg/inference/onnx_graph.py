"""The part of a model that ONNX can express: from pixels to the scores of classes, whose embeddings
are given.

Two kinds of models can be exported. A model that reads regions gets the picture squashed to the
side of its frozen encoder and the region of each cell of a grid, as Felzenszwalb's algorithm is no
tensor program; its encoder is part of the graph. A model that reads pixels gets one window.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from captionseg.encoders.encoder import Encoder
from captionseg.grids import interpolation
from captionseg.model_inputs import Inputs
from captionseg.prepared import pixel_inputs


class RegionGraph(nn.Module):
    """A model that reads regions, with its frozen encoder.

    Args:
        model: the model.
        encoder: the encoder.
        regions: most regions of a picture; scores of regions that a picture lacks are of no pixel.
        side: side of the grid of regions.
    """

    def __init__(self, model: Any, encoder: Encoder, regions: int, side: int) -> None:
        super().__init__()
        self.model, self.encoder, self.count, self.side = model, encoder, regions, side

    def forward(
        self,
        picture: UInt8[Tensor, "1 height width 3"],
        regions: Int64[Tensor, "1 side side"],
        classes: Float[Tensor, "class embedding"],
    ) -> Float[Tensor, "1 class side side"]:
        """Return the scores of classes for each cell of the grid of regions."""
        dense = self.encoder.towers(picture.permute(0, 3, 1, 2).float())[1][0]
        inside = regions == torch.arange(self.count)[:, None, None]
        pooled = torch.cat([pool(round_half(dense), inside), describe_geometry(inside)], 1)
        inputs = Inputs(
            round_half(pooled)[None],
            inside.flatten(1).any(1)[None],
            regions,
            (self.side, self.side),
        )
        return self.model.segment(inputs, classes)


class WindowGraph(nn.Module):
    """A model that reads pixels, for windows of one size.

    Args:
        model: the model.
        choices: options of inference, if the model has any.
    """

    def __init__(self, model: Any, choices: tuple[Any, ...]) -> None:
        super().__init__()
        self.model, self.choices = model, choices

    def forward(
        self, window: Float[Tensor, "1 3 height width"], classes: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "1 _class height width"]:
        """Return the mask logits of a window, see captionseg.inference.windows."""
        size = (window.shape[2], window.shape[3])
        return self.model.segment(pixel_inputs(window, size), classes, *self.choices)


def round_half(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Round to fp16, as features are stored for training."""
    return x.to(torch.float16).to(torch.float32)


def pool(
    dense: Float[Tensor, "rows columns feature"], inside: Tensor
) -> Float[Tensor, "region feature"]:
    """Pool dense features over regions, bool [R, h, w], as captionseg.segmenters.pooling does."""
    down, across = (
        torch.from_numpy(interpolation(fine, coarse).copy())
        for fine, coarse in zip(inside.shape[1:], dense.shape[:2], strict=True)
    )
    weights = down.T @ (inside.float() @ across)
    area = inside.flatten(1).sum(1).clamp(min=1).float()
    return weights.flatten(1) / area[:, None] @ dense.flatten(0, 1)


def describe_geometry(inside: Tensor) -> Float[Tensor, "region 7"]:
    """Describe position and shape of regions, bool [R, h, w], as captionseg.segmenters.pooling
    does.
    """
    height, width = inside.shape[1:]
    cells = inside.double()
    rows, columns = cells.sum(2), cells.sum(1)
    area = rows.sum(1)
    full = area.clamp(min=1)
    x = columns @ ((torch.arange(width).double() + 0.5) / width) / full
    y = rows @ ((torch.arange(height).double() + 0.5) / height) / full
    w, h = measure_extent(columns), measure_extent(rows)
    border = (
        cells[:, 0].sum(1)
        + cells[:, -1].sum(1)
        + cells[:, 1:-1, 0].sum(1)
        + cells[:, 1:-1, -1].sum(1)
    )
    numbers = [
        area / (height * width),
        x,
        y,
        w / width,
        h / height,
        border / (2 * width + 2 * (height - 2)),
        area / (w * h).clamp(min=1),
    ]
    return torch.stack(numbers, 1).float()


def measure_extent(counts: Float[Tensor, "region length"]) -> Float[Tensor, " region"]:
    """Return the number of elements from the first to the last that is not 0; 0 without any."""
    length = counts.shape[1]
    place = torch.arange(length).double()
    first = torch.where(counts > 0, place, length).amin(1)
    last = torch.where(counts > 0, place, -1.0).amax(1)
    return (last - first + 1).clamp(min=0)
