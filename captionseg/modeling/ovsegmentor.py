"""OVSegmentor (Xu et al. 2023): tokens are bound to groups; groups complete captions whose entities
are masked, and agree about masks across pictures that share an entity.

With a text encoder of its own a masked caption is a sequence of tokens and the prompted entities
are one sentence. Of frozen text embeddings, as the default run has them, a masked caption is one
query of the decoder, and the prompted entities are the mean of their embeddings.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.losses.contrastive import MultiLabel
from captionseg.model_inputs import Batch
from captionseg.modeling.objectives.bags import BagContrast, Bags, Scales
from captionseg.modeling.objectives.completion import (
    MASKED,
    Completion,
    Objective,
    WordLogits,
    missing_loss,
)
from captionseg.modeling.objectives.cross_image import CrossImage, MaskAgreement
from captionseg.modeling.readout.group_readout import GroupSegmenter
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.modeling.segmenter import Gather, InputSpec, Masking, Sizes, Start, gather_single
from captionseg.modeling.towers.dual_encoder import Pool, Towers, TowersConfig, bag_of, pool_groups
from captionseg.modeling.towers.group_encoder import EncoderConfig
from captionseg.modeling.towers.texts import TextConfig
from captionseg.typed import AboveZero, Natural, Share, ShareAboveZero, ShareBelowOne, ZeroOrMore


@dataclass(frozen=True)
class OVSegmentorConfig:
    """What defines an OVSegmentor.

    Attributes:
        towers: both encoders and their projectors. The paper has pixels, depths [6, 6], texts by
            bert.
        entities: C, concepts of the vocabulary, for the objectives that predict one; 0 takes it
            from the data.
        pool: as in GroupViTConfig; the paper has mean.
        objective: of Table 4. Which words are masked; multi_label is GroupViT's loss in their
            place, mlm_groups and mlm predict each masked word among the concepts, with and without
            groups; none is the baseline.
        entity_weight: of L_entity.
        mask_weight: lambda of L_mask; 0 leaves it out.
        mask_from: steps before L_mask begins (the schedule of two stages).
        freeze_text: from then on the text encoder is not trained, as released.
        ratio: r, share of the groups that are nearest to the shared entity (Table 5).
        threshold: delta, above which a mask is a target; with `relative` the share of each mask's
            maximum, as the released code has it.
        mask_scale: of the cosine of tokens and groups before the sigmoid of Eq. 10.
        mask_reduction: over pictures; sum is the released code's.
        momentum: of the second encoder.
        temperature, multi_label, mask_negatives, zero_shot: as in GroupViTConfig.
    """

    towers: TowersConfig = field(
        default_factory=lambda: TowersConfig(
            EncoderConfig(depths=[0, 0], group_tokens=[8, 0], groups=[8])
        )
    )
    entities: Natural = 0
    pool: Pool = "max"
    objective: Objective = "all_entities"
    entity_weight: ZeroOrMore = 1.0
    mask_weight: ZeroOrMore = 0.1
    mask_from: Natural = 0
    freeze_text: bool = False
    ratio: ShareAboveZero = 0.5
    threshold: Share = 0.65
    relative: bool = False
    mask_scale: AboveZero = 10.0
    mask_reduction: Literal["mean", "sum"] = "mean"
    momentum: ShareBelowOne = 0.99
    temperature: AboveZero = 0.07
    multi_label: MultiLabel = "log_sum"
    mask_negatives: bool = True
    zero_shot: ZeroShot = field(default_factory=ZeroShot)

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio <= 1.0:
            raise ValueError(f"ovsegmentor: ratio {self.ratio} is not above 0 and at most 1")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"ovsegmentor: momentum {self.momentum} is not from 0 to below 1")
        if self.masking and self.towers.text.kind == "clip":
            raise ValueError(
                "ovsegmentor: clip has no token for a masked word; take text: {kind: bert}"
            )

    @property
    def masking(self) -> Masking | None:
        """Which words of captions are masked for this objective."""
        return MASKED.get(self.objective)

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return self.towers.reads(self.masking)

    def with_sizes(self, sizes: Sizes) -> OVSegmentorConfig:
        """With widths that are 0 taken from the data."""
        return replace(
            self,
            towers=self.towers.with_sizes(regions=sizes.regions, texts=sizes.texts),
            entities=self.entities or sizes.concepts,
        )


def ovsegmentor_base() -> OVSegmentorConfig:
    """The paper's: ViT-B/16 in two halves of six blocks, 8 groups bound by Eq. 3-6, BERT-base. Name
    DINO's and BERT's weights in towers.encoder.weights and towers.text.weights."""
    encoder = EncoderConfig(
        tokens="pixels",
        patch_norm=False,
        width=768,
        heads=12,
        depths=[6, 6],
        group_tokens=[8, 0],
        groups=[8],
        binding="slots",
        assign="gumbel",
        drop_path=0.1,
        dropout=0.0,
        eps=1e-6,
    )
    text = TextConfig("bert", width=768, depth=12, heads=12)
    return OVSegmentorConfig(
        TowersConfig(encoder, text, hidden=4096, norm="batch"),
        pool="mean",
        mask_negatives=False,
        zero_shot=ZeroShot("groups", "product", top_k=5),
    )


def ovsegmentor_released() -> OVSegmentorConfig:
    """As `ovsegmentor_base`, where the released code differs: see docs/methods/ovsegmentor.md."""
    paper = ovsegmentor_base()
    encoder = replace(
        paper.towers.encoder,
        heads=8,
        group_tokens=[64, 0],
        binding="groupvit",
        assign_eps=1.0,
        eps=1e-5,
    )
    return replace(
        paper,
        towers=replace(paper.towers, encoder=encoder),
        relative=True,
        threshold=0.6,
        mask_reduction="sum",
        freeze_text=True,
    )


@dataclass(frozen=True)
class OVSegmentorOutputs:
    """The bags of groups; the completed captions as bags of one with the prompted entities as
    captions, or what masked words are taken for, or None; and what mask consistency needs, or None.
    """

    groups: Bags
    completed: Bags | WordLogits | None
    cross: CrossImage | None


class OVSegmentor(GroupSegmenter):
    """See the module's docstring."""

    config: OVSegmentorConfig
    steps: Tensor

    def __init__(self, config: OVSegmentorConfig) -> None:
        super().__init__()
        self.config = config
        self.towers = Towers(config.towers)
        self.completion = (
            Completion(config.towers, config.objective, config.entities) if config.masking else None
        )
        self.caption_scale = nn.Parameter(torch.tensor(math.log(1.0 / config.temperature)))
        self.contrast = BagContrast(
            0.0,
            config.multi_label,
            config.mask_negatives,
            equal_texts=config.towers.text.kind == "frozen",
        )
        self.agreement = MaskAgreement(
            config.ratio,
            config.threshold,
            config.relative,
            scale=config.mask_scale,
            reduction=config.mask_reduction,
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        if config.mask_weight:
            self.momentum_vision = copy.deepcopy(self.towers.vision).requires_grad_(False)
            self.momentum_projector = copy.deepcopy(self.towers.image_projector).requires_grad_(
                False
            )

    def start(self, given: Start) -> None:
        """Before training: statistics of region features, and the weights that the config names."""
        self.towers.start(given.regions)
        if self.config.mask_weight:
            self.momentum_vision.load_state_dict(self.towers.vision.state_dict())

    def forward(self, batch: Batch) -> OVSegmentorOutputs:
        """Group, complete captions, and look at the picture through the momentum encoder.

        Raises:
            UserError: where the objective needs masked captions and the batch has none.
        """
        if self.training:
            self.update_momentum()
        towers, config = self.towers, self.config
        if towers.text is not None and config.freeze_text:
            towers.text.requires_grad_(not self.has_mask_loss)
        encoded = towers.vision(batch.image, batch.regions, batch.region_mask)
        # Sentences of an own encoder cost as much as a picture: no more of them than the losses ask
        # for.
        few = towers.text is not None and config.objective != "multi_label"
        captions, texts = towers.embed_batch(batch, texts=1 if few else None)
        bag = pool_groups(encoded.groups, config.pool)
        completed = (
            self.completion(batch, encoded.groups, towers, texts) if self.completion else None
        )
        cross = self.cross_image(batch, texts) if config.mask_weight else None
        if cross is not None:
            cross = replace(cross, tokens=towers.embed(towers.vision.members(encoded)))
        return OVSegmentorOutputs(
            bag_of(towers.embed(bag), captions, texts, batch), completed, cross
        )

    @property
    def has_mask_loss(self) -> bool:
        """Whether L_mask counts yet."""
        return bool(self.steps >= self.config.mask_from)

    def cross_image(self, batch: Batch, texts: Tensor) -> CrossImage:
        """What Eq. 10-12 need, by the momentum encoder alone; `tokens` are its own."""
        with torch.no_grad():
            vision = self.momentum_vision.eval()
            target = vision(batch.image, batch.regions, batch.region_mask)
            members, groups = (
                F.normalize(self.momentum_projector(x).float(), dim=-1)
                for x in (vision.members(target), target.groups)
            )
        mask = (
            batch.region_mask
            if target.grid is None
            else torch.ones_like(members[..., 0], dtype=torch.bool)
        )
        return CrossImage(
            members, members, groups, mask, batch.text_concept[:, 0], texts[:, 0].detach()
        )

    @torch.no_grad()
    def update_momentum(self) -> None:
        """One step of the exponential mean of the online weights."""
        self.steps += 1
        if self.config.mask_weight:
            pairs = (
                (self.momentum_vision, self.towers.vision),
                (self.momentum_projector, self.towers.image_projector),
            )
            for slow, fast in pairs:
                for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                    a.lerp_(b, 1.0 - self.config.momentum)

    def losses(
        self, outputs: OVSegmentorOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Eq. 13: `caption` (Eq. 7), `entity` (Eq. 9) and `mask` (Eq. 12) with their weights; one
        temperature.
        """
        config, scale = self.config, self.caption_scale.exp().clamp(max=100.0)
        scales = Scales(scale, scale)
        if config.objective == "multi_label":
            losses = self.contrast(outputs.groups, scales, gather, rank=rank)
            losses["entity"] = config.entity_weight * losses.pop("concept")
        else:
            losses = self.contrast(outputs.groups, scales, gather, rank=rank, parts=("caption",))
        if isinstance(outputs.completed, Bags):
            loss = self.contrast(outputs.completed, scales, gather, rank=rank, parts=("caption",))[
                "caption"
            ]
            losses["entity"] = config.entity_weight * loss
        elif outputs.completed is not None:
            losses["entity"] = config.entity_weight * missing_loss(outputs.completed, gather)
        if outputs.cross is not None:
            loss = self.agreement(outputs.cross, gather, rank=rank)
            losses["mask"] = config.mask_weight * float(self.has_mask_loss) * loss
        return losses
