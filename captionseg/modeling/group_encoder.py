"""The image encoder of group models: first tokens, then stages of blocks and groupings."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captionseg.modeling.layers.grouping import Grouped, Grouping, Slots, TokenMixer
from captionseg.modeling.layers.tokens import PatchTokens, RegionTokens
from captionseg.modeling.layers.transformer import Block


class Encoded(NamedTuple):
    """An image, grouped.

    Attributes:
        members: [B, N, D] after the last norm: each first token as the only member of its group.
        groups: [B, G, D] after the last norm.
        maps: assignments stage by stage, noise-free; [B, G1, N], [B, G2, G1], ..
        grid: (rows, columns) that the first tokens stand for; None for regions.
    """

    members: Tensor
    groups: Tensor
    maps: list[Tensor]
    grid: tuple[int, int] | None


class Stage(nn.Module):
    """Transformer blocks over tokens and group tokens together, then grouping; without group tokens blocks alone."""

    def __init__(self, config: Any, number: int, drop_path: list[float]) -> None:
        super().__init__()
        width, count = config.width, config.group_tokens[number]
        self.group_token, self.project, self.grouping = None, None, None
        before = config.group_tokens[number - 1] if number else 0
        if count:
            self.group_token = nn.Parameter(torch.zeros(1, count, width))
            if before:
                self.project = nn.Sequential(nn.LayerNorm(width), TokenMixer(before, width // 2, count))
            else:
                nn.init.trunc_normal_(self.group_token, std=config.token_std, a=-4.0, b=4.0)
            self.grouping = (
                Grouping(width, config.heads, count, config.groups[number], assign=config.assign, eps=config.assign_eps)
                if config.binding == "groupvit" else Slots(width, assign=config.assign, eps=config.assign_eps))
        self.blocks = nn.ModuleList(Block(width, config.heads, drop_path=p) for p in drop_path)

    def forward(self, x: Tensor, before: Tensor | None, mask: Tensor | None) -> tuple[Grouped | Tensor, Tensor | None]:
        """(groups or x, group tokens after the blocks); `before` are the group tokens of the stage before."""
        if self.group_token is None or self.grouping is None:
            return self.through(x, mask), None
        tokens = self.group_token.expand(len(x), -1, -1)
        if self.project is not None and before is not None:
            tokens = tokens + self.project(before)
        if len(self.blocks):
            seen = None if mask is None else torch.cat([mask, mask.new_ones(tokens.shape[:2])], 1)
            x, tokens = self.through(torch.cat([x, tokens], 1), seen).split([x.shape[1], tokens.shape[1]], 1)
        return self.grouping(x, tokens, mask), tokens

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """All blocks."""
        for block in self.blocks:
            x = block(x, mask)
        return x


class GroupEncoder(nn.Module):
    """Images or regions -> groups. The config has the fields of GroupViTConfig down to `dropout`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.tokens = (PatchTokens(config.width, config.size, config.patch) if config.tokens == "pixels"
                       else RegionTokens(config.region_width, config.width, dropout=config.dropout))
        rates = torch.linspace(0, config.drop_path, max(1, sum(config.depths))).tolist()
        ends = [sum(config.depths[:n]) for n in range(len(config.depths) + 1)]
        self.stages = nn.ModuleList(Stage(config, n, rates[a:b]) for n, (a, b) in enumerate(pairwise(ends)))
        self.norm = nn.LayerNorm(config.width)
        self.stages.apply(initialise)

    def standardise(self, regions: Tensor) -> None:
        """Statistics of the region features [n, F], where there are any."""
        if isinstance(self.tokens, RegionTokens):
            self.tokens.standardise(regions)

    def forward(self, image: Tensor | None, regions: Tensor | None = None, mask: Tensor | None = None) -> Encoded:
        """Group an image [B, 3, H, W], or regions [B, S, F] with mask [B, S]."""
        grid, seen = None, None
        if isinstance(self.tokens, PatchTokens):
            x, grid = self.tokens(image)
        else:
            x, seen = self.tokens(regions), mask
        members, before, maps = x, None, []
        for stage in self.stages:
            x, before = stage(x, before, seen)
            if isinstance(x, Grouped):
                members = members if maps else self.norm(x.members)
                maps.append(x.soft)
                x, seen = x.groups, None
        return Encoded(members, self.norm(x), maps, grid)


def initialise(module: nn.Module) -> None:
    """Weights of linear layers from a truncated normal with deviation .02, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
