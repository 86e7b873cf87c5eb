"""The image encoder of models with groups: tokens, then stages of transformer blocks
and grouping.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from captionseg.modeling.layers.backbone import BackboneMaps
from captionseg.modeling.layers.grouping import Assign, Grouping, GroupingOutputs, Slots, TokenMixer
from captionseg.modeling.layers.tokens import PatchTokens, RegionTokens
from captionseg.modeling.layers.transformer import Block
from captionseg.typed import AboveZero, Count, Natural, ShareBelowOne, ZeroOrMore


@dataclass(frozen=True)
class EncoderConfig:
    """Configuration of a GroupEncoder.

    Attributes:
        tokens: pixels (patches) or regions (pooled frozen features).
        size: side of training pictures in pixels.
        patch: side of a patch in pixels, or the stride of a backbone.
        patch_norm: whether tokens are normalised, as in GroupViT and not in a plain ViT.
        backbone: network of timm that replaces the convolution over patches; empty for none.
        frozen: whether the backbone is frozen.
        weights: file of initial weights, of the backbone or of a ViT (such as DINO's) with the same
            blocks: safetensors, or a checkpoint with only tensors; or, for a backbone, a timm tag,
            whose weights are downloaded. `packaged` means the packaged weights of
            tf_efficientnet_lite0; empty means random weights.
        region_width: F, number of features of a region; 0 takes it from the data.
        width: width of tokens.
        heads: number of attention heads.
        depths: number of transformer blocks of each stage.
        group_tokens: number of learnt group tokens of each stage; 0 for a stage without grouping.
        groups: number of groups after each stage; the last stage may be omitted.
        binding: groupvit is the grouping block of GroupViT, slots is Eq. 3-6 of OVSegmentor.
        assign: see Assignment.
        assign_eps: see Assignment.
        token_std: deviation of the initial group tokens.
        weight_std: deviation of the initial weights of linear layers. The published value is for a
            width of 384; where a narrow encoder keeps it, assignments start as noise and groups
            collapse. sqrt(384 / width) times as much keeps the scale of what layers pass on.
        eps: of the norms of blocks.
        drop_path: drop path rate of the last block; it increases linearly from 0.
        dropout: dropout of region features in training.
    """

    tokens: Literal["pixels", "regions"] = "regions"
    size: Count = 224
    patch: Count = 16
    patch_norm: bool = True
    backbone: str = ""
    frozen: bool = True
    weights: str = ""
    region_width: Natural = 0
    width: Count = 128
    heads: Count = 4
    depths: list[Natural] = field(default_factory=lambda: [0])
    group_tokens: list[Natural] = field(default_factory=lambda: [8])
    groups: list[Count] = field(default_factory=lambda: [8])
    binding: Literal["groupvit", "slots"] = "slots"
    assign: Assign = "soft"
    assign_eps: ZeroOrMore = 1e-6
    token_std: ZeroOrMore = 0.02
    weight_std: AboveZero = 0.02
    eps: AboveZero = 1e-5
    drop_path: ShareBelowOne = 0.0
    dropout: ShareBelowOne = 0.5

    def __post_init__(self) -> None:
        stages = len(self.depths)
        if len(self.group_tokens) != stages or len(self.groups) not in (stages, stages - 1):
            raise ValueError(
                f"{stages} depths need as many group_tokens, and as many groups or one less"
            )
        if not self.group_tokens or not self.group_tokens[0]:
            raise ValueError("the first stage must group: group_tokens begins with 0")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        if self.tokens == "regions" and (self.backbone or self.weights):
            raise ValueError("backbone and weights need tokens: pixels")
        if self.tokens == "pixels" and self.size < self.patch:
            raise ValueError(f"size {self.size} is less than a patch of {self.patch}")


class GroupEncoding(NamedTuple):
    """The groups of images.

    Attributes:
        first: result of the first grouping.
        groups: [B, G, D] groups after the last norm.
        maps: assignments of the stages without noise: [B, G1, N], [B, G2, G1], ..
        grid: (rows, columns) of the tokens; None for regions.
    """

    first: GroupingOutputs
    groups: Tensor
    maps: list[Tensor]
    grid: tuple[int, int] | None


class Stage(nn.Module):
    """Transformer blocks over tokens and group tokens, then grouping if there are group tokens.

    Args:
        config: config of the encoder.
        number: number of the stage.
        drop_path: drop path rate of each block.
    """

    def __init__(self, config: EncoderConfig, number: int, drop_path: list[float]) -> None:
        super().__init__()
        width, count = config.width, config.group_tokens[number]
        self.group_token, self.project, self.grouping = None, None, None
        before = config.group_tokens[number - 1] if number else 0
        if count:
            self.group_token = nn.Parameter(torch.zeros(1, count, width))
            if before:
                self.project = nn.Sequential(
                    nn.LayerNorm(width), TokenMixer(before, width // 2, count)
                )
            else:
                nn.init.trunc_normal_(self.group_token, std=config.token_std, a=-4.0, b=4.0)
            self.grouping = (
                Grouping(
                    width,
                    config.heads,
                    count,
                    config.groups[number],
                    assign=config.assign,
                    eps=config.assign_eps,
                )
                if config.binding == "groupvit"
                else Slots(width, assign=config.assign, eps=config.assign_eps)
            )
        self.blocks = nn.ModuleList(
            Block(width, config.heads, drop_path=p, eps=config.eps) for p in drop_path
        )

    def forward(
        self, x: Tensor, before: Tensor | None, mask: Tensor | None
    ) -> tuple[GroupingOutputs | Tensor, Tensor | None]:
        """Apply the stage.

        Args:
            x: [B, N, D] tokens.
            before: [B, S, D] group tokens of the previous stage, if any.
            mask: [B, N], False for padding; None for no padding.

        Returns:
            the grouping, or tokens [B, N, D] if the stage does not group; and the group tokens
            [B, S, D] after the blocks, if any.
        """
        if self.group_token is None or self.grouping is None:
            return self.run_blocks(x, mask), None
        tokens = self.group_token.expand(len(x), -1, -1)
        if self.project is not None and before is not None:
            tokens = tokens + self.project(before)
        if len(self.blocks):
            valid = None if mask is None else torch.cat([mask, mask.new_ones(tokens.shape[:2])], 1)
            x, tokens = self.run_blocks(torch.cat([x, tokens], 1), valid).split(
                [x.shape[1], tokens.shape[1]], 1
            )
        return self.grouping(x, tokens, mask), tokens

    def run_blocks(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Apply all blocks to tokens [B, N, D]."""
        for block in self.blocks:
            x = block(x, mask)
        return x


class GroupEncoder(nn.Module):
    """Encodes pictures or regions to groups."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = build_tokens(config)
        blocks = sum(config.depths)
        rates = [config.drop_path * number / max(1, blocks - 1) for number in range(blocks)]
        ends = [sum(config.depths[:n]) for n in range(len(config.depths) + 1)]
        self.stages = nn.ModuleList(
            Stage(config, n, rates[a:b]) for n, (a, b) in enumerate(pairwise(ends))
        )
        self.norm = nn.LayerNorm(config.width)
        self.stages.apply(functools.partial(initialise, std=config.weight_std))

    def standardise(self, regions: Tensor) -> None:
        """Set the statistics of region features from a sample [n, F]; does nothing for pixels."""
        if isinstance(self.tokens, RegionTokens):
            self.tokens.norm.standardise(regions)

    def forward(
        self, image: Tensor | None, regions: Tensor | None = None, mask: Tensor | None = None
    ) -> GroupEncoding:
        """Encode pictures [B, 3, H, W], or regions [B, S, F] with mask [B, S], False
        for padding.
        """
        grid, valid = None, None
        if isinstance(self.tokens, PatchTokens):
            x, grid = self.tokens(image)
        else:
            x, valid = self.tokens(regions), mask
        first, before, maps = None, None, []
        for stage in self.stages:
            x, before = stage(x, before, valid)
            if isinstance(x, GroupingOutputs):
                first = first or x
                maps.append(x.soft)
                x, valid = x.groups, None
        assert first is not None  # the config requires that the first stage groups
        return GroupEncoding(first, self.norm(x), maps, grid)

    def members(self, encoded: GroupEncoding) -> Tensor:
        """Return [B, N, D]: for each token what its group would be without any other token, after
        the last norm.
        """
        grouping: Grouping | Slots = self.stages[0].grouping  # type: ignore[assignment]
        return self.norm(grouping.members(encoded.first))


def build_tokens(config: EncoderConfig) -> PatchTokens | RegionTokens:
    """Build the module that makes the tokens of the first stage."""
    if config.tokens == "regions":
        return RegionTokens(config.region_width, config.width, dropout=config.dropout)
    if config.backbone:
        maps = BackboneMaps(
            config.backbone,
            config.width,
            size=config.size,
            stride=config.patch,
            frozen=config.frozen,
        )
        return PatchTokens(maps, config.width, maps.side, norm=config.patch_norm)
    patches = nn.Conv2d(3, config.width, config.patch, config.patch)
    return PatchTokens(patches, config.width, config.size // config.patch, norm=config.patch_norm)


def initialise(module: nn.Module, std: float) -> None:
    """Initialise a linear layer: weights from a truncated normal with this deviation, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)
