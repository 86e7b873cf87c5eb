"""A frozen encoder that is the last block of a ViT alone, with random weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from captionseg.encoders.encoder import Features
from captionseg.encoders.last_block import Attended, LastBlock, Mix, Mixed, split_heads

PATCH = 16


class TinyVit:
    """Patches of 16 pixels behind a class token, two heads; its space of texts has `out` channels.

    `towers` are the values of the block, as in MaskCLIP. It is no encoder of texts, nor of whole
    pictures.
    """

    aligned, batch, fine, head, text_tower = True, 1, 0, None, None

    def __init__(self, out: int, width: int = 8) -> None:
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.token = torch.randn(1, 1, width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.last = nn.Linear(width, width), nn.Linear(width, out)

    def split_last_block(self) -> LastBlock:
        def project(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            query, key, value = (split_heads(part, 2) for part in self.qkv(x).chunk(3, 2))
            return query, key, value

        return LastBlock(
            nn.Identity(), project, self.proj, lambda x: x + self.fc(x).relu(), self.last
        )

    def attend(self, pixels: Tensor, mix: Mix, *, residual: bool) -> Tensor:
        maps = self.patches(pixels / 50.0)
        tokens = torch.cat([self.token.expand(len(maps), -1, -1), maps.flatten(2).mT], 1)
        grid = (maps.shape[2], maps.shape[3])
        return self.split_last_block().attend(tokens, grid, mix, residual=residual)

    def towers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        def take_value(attended: Attended) -> Mixed:
            return Mixed(attended.value, attended.grid)

        dense = self.attend(pixels, take_value, residual=True)
        return dense.mean((1, 2)), dense

    def features(self, images: Sequence[np.ndarray]) -> Features:
        raise NotImplementedError

    def text(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError
