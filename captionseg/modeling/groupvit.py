"""GroupViT (Xu et al. 2022): tokens are grouped stage by stage, and groups are matched with texts.

This is the paper's model, with the parts that only its code has, and with alternatives for small
data: regions instead of patches, one slot step instead of the grouping block, the maximum over
groups instead of their mean. Each alternative is a field of the config. The defaults are those of
the default run; `groupvit_small()` is the published model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from captionseg.losses.contrastive import MultiLabel
from captionseg.model_inputs import Batch
from captionseg.modeling.objectives.bags import BagContrast, Bags, Scales
from captionseg.modeling.readout.group_readout import GroupSegmenter
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.modeling.segmenter import Gather, InputSpec, Sizes, Start, gather_single
from captionseg.modeling.towers.dual_encoder import (
    Pool,
    Towers,
    TowersConfig,
    make_bags,
    pool_groups,
)
from captionseg.modeling.towers.group_encoder import EncoderConfig
from captionseg.modeling.towers.texts import TextConfig
from captionseg.typed import AboveZero, ZeroOrMore


@dataclass(frozen=True)
class GroupViTConfig:
    """Configuration of GroupViT.

    Attributes:
        towers: both encoders and their projectors.
        pool: mean compares texts with the mean of an image's groups, max with the most similar
            group.
        segment_weight: weight of the same losses over single tokens, see GroupEncoder.members; 0
            leaves them out.
        temperature: as in SegmentMilConfig, but captions and concepts each learn their own.
        multi_label: as in SegmentMilConfig.
        mask_negatives: as in SegmentMilConfig.
        caption_weight: as in SegmentMilConfig.
        caption_pads: whether the caption takes the place of a concept that could not be drawn, as
            in the released code; else that place is empty.
        zero_shot: options of inference.
    """

    towers: TowersConfig = field(default_factory=TowersConfig)
    pool: Pool = "max"
    segment_weight: ZeroOrMore = 0.0
    temperature: AboveZero = 0.07
    multi_label: MultiLabel = "log_sum"
    mask_negatives: bool = True
    caption_weight: ZeroOrMore = 1.0
    caption_pads: bool = False
    zero_shot: ZeroShot = field(default_factory=ZeroShot)

    def __post_init__(self) -> None:
        if self.segment_weight and self.towers.encoder.tokens == "pixels":
            raise ValueError("groupvit: segment_weight needs tokens: regions")
        if self.caption_pads and self.mask_negatives:
            raise ValueError(
                "groupvit: caption_pads needs mask_negatives: false, because a caption names "
                "several concepts"
            )

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return self.towers.reads()

    def with_sizes(self, sizes: Sizes) -> GroupViTConfig:
        """Return a copy in which widths that are 0 are those of the data."""
        return replace(
            self, towers=self.towers.with_sizes(regions=sizes.regions, texts=sizes.texts)
        )


def groupvit_small() -> GroupViTConfig:
    """Return the published model: 55,726,610 parameters with text encoder and projectors."""
    encoder = EncoderConfig(
        tokens="pixels",
        width=384,
        heads=6,
        depths=[6, 3, 3],
        group_tokens=[64, 8, 0],
        groups=[64, 8],
        binding="groupvit",
        assign="gumbel",
        assign_eps=1.0,
        token_std=0.02,
        drop_path=0.1,
        dropout=0.0,
    )
    return GroupViTConfig(
        TowersConfig(
            encoder, TextConfig("clip", width=256, vocabulary=49408), hidden=4096, norm="batch"
        ),
        pool="mean",
        mask_negatives=False,
        zero_shot=ZeroShot("groups", "product", top_k=5),
    )


def groupvit_tiny() -> GroupViTConfig:
    """Return the published architecture in a size for two CPU cores: pictures of 112 pixels, two
    stages, 2.5 million parameters of the image encoder.
    """
    small = groupvit_small()
    encoder = replace(
        small.towers.encoder,
        size=112,
        width=192,
        heads=3,
        depths=[3, 2],
        group_tokens=[8, 0],
        groups=[8],
        drop_path=0.0,
    )
    text = replace(small.towers.text, width=128, depth=3, heads=2)
    return replace(
        small, towers=replace(small.towers, encoder=encoder, text=text, hidden=512, norm="layer")
    )


class GroupOutputs(NamedTuple):
    """What the losses need.

    Attributes:
        groups: bags of the groups of images, or of their means.
        segments: bags of single tokens; None if they have no loss.
    """

    groups: Bags
    segments: Bags | None


class GroupViT(GroupSegmenter):
    """The GroupViT model; see the module's docstring."""

    config: GroupViTConfig

    def __init__(self, config: GroupViTConfig) -> None:
        super().__init__()
        self.config = config
        self.towers = Towers(config.towers)
        start = math.log(1.0 / config.temperature)
        self.caption_scale, self.concept_scale = (
            nn.Parameter(torch.tensor(start)) for _ in range(2)
        )
        self.contrast = BagContrast(
            0.0,
            config.multi_label,
            config.mask_negatives,
            equal_texts=config.towers.text.kind == "frozen",
        )

    def start(self, data: Start) -> None:
        """See Segmenter: statistics of region features, and the weights that the config names."""
        self.towers.start(data.regions)

    def forward(self, batch: Batch) -> GroupOutputs:
        """Embed the groups of images (or their means), captions and drawn concepts."""
        towers = self.towers
        encoded = towers.vision(batch.image, batch.regions, batch.region_mask)
        captions, texts = towers.embed_batch(batch)
        bag = pool_groups(encoded.groups, self.config.pool)
        groups = make_bags(towers.embed(bag), captions, texts, batch)
        if not self.config.segment_weight:
            return GroupOutputs(groups, None)
        members = towers.embed(towers.vision.members(encoded))
        return GroupOutputs(groups, make_bags(members, captions, texts, batch, batch.region_mask))

    def losses(
        self, outputs: GroupOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return `caption` and `concept` as in BagContrast, and `segment_*` over tokens."""
        scales = Scales(
            *(s.exp().clamp(max=100.0) for s in (self.caption_scale, self.concept_scale))
        )
        losses = self.contrast(self.pad(outputs.groups, rank), scales, gather, rank=rank)
        if outputs.segments is not None:
            extra = self.contrast(self.pad(outputs.segments, rank), scales, gather, rank=rank)
            losses |= {f"segment_{k}": self.config.segment_weight * v for k, v in extra.items()}
        return {
            k: self.config.caption_weight * v if k.endswith("caption") else v
            for k, v in losses.items()
        }

    def pad(self, bags: Bags, rank: int) -> Bags:
        """Return the bags with captions in place of missing concepts, if `caption_pads`."""
        return pad_with_captions(bags, rank) if self.config.caption_pads else bags


CAPTIONS = 1 << 40
"""Number of the first caption that stands for a concept; numbers of concepts are smaller."""


def pad_with_captions(bags: Bags, rank: int) -> Bags:
    """Put the caption of an image in place of its missing concepts.

    Args:
        bags: bags of this rank.
        rank: number of this rank, so that captions of all ranks have different numbers.
    """
    missing = bags.text_concept < 0
    count, device = len(missing), missing.device
    number = CAPTIONS + rank * count + torch.arange(count, device=device)
    return replace(
        bags,
        texts=torch.where(missing[..., None], bags.captions[:, None], bags.texts),
        text_concept=torch.where(missing, number[:, None], bags.text_concept),
    )
