"""The configuration of OVSegmentor (Xu et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from captionseg.losses.contrastive import MultiLabel
from captionseg.modeling.objectives.completion import MASKED, Objective
from captionseg.modeling.objectives.cross_image import Agreement, Masks
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.modeling.segmenter import InputSpec, Masking, Sizes
from captionseg.modeling.towers.dual_encoder import Pool, TowersConfig
from captionseg.modeling.towers.group_encoder import EncoderConfig
from captionseg.modeling.towers.texts import TextConfig
from captionseg.typed import AboveZero, Natural, Share, ShareAboveZero, ShareBelowOne, ZeroOrMore


@dataclass(frozen=True)
class OVSegmentorConfig:
    """Configuration of OVSegmentor.

    Attributes:
        towers: both encoders and their projectors; the paper has pixels, depths [6, 6] and bert.
        entities: C, size of the vocabulary, for mlm objectives; 0 takes it from the data.
        pool: as in GroupViTConfig; the paper has mean.
        objective: row of Table 4: which words are masked and asked for; multi_label uses GroupViT's
            loss instead; mlm_groups and mlm predict masked words, with and without groups.
        entity_weight: weight of L_entity.
        mask_weight: lambda, weight of L_mask; 0 leaves it out.
        mask_from: number of steps before L_mask begins (the second stage of training).
        freeze_text: whether the text encoder is frozen from then on, as released.
        ratio: r, share of groups that are selected for the shared entity (Table 5).
        threshold: delta, above which a mask is a target.
        relative: whether `threshold` is a share of each mask's maximum, as in the released code.
        masks: joint are the masks of Eq. 10, of tokens and groups in the joint space; binding is
            the released loss, of the binding's queries and keys, see MaskAgreement.
        agreement: what pictures that share an entity agree about: its masks, or its groups, the
            variant of Table 6, with `temperature`; that needs masks: joint.
        mask_scale: factor of the cosines of joint masks before the sigmoid of Eq. 10.
        mask_reduction: over pictures.
        momentum: of the momentum encoder.
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
    masks: Masks = "joint"
    agreement: Agreement = "masks"
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
        if self.agreement == "groups" and self.masks != "joint":
            raise ValueError("ovsegmentor: agreement: groups needs masks: joint")
        if self.masking and self.towers.text.kind == "clip":
            raise ValueError(
                "ovsegmentor: clip has no token for a masked word; take text: {kind: bert}"
            )

    @property
    def masking(self) -> Masking | None:
        """Which words of captions are masked for the objective."""
        return MASKED.get(self.objective)

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return self.towers.reads(self.masking)

    def with_sizes(self, sizes: Sizes) -> OVSegmentorConfig:
        """Return a copy in which widths that are 0 are those of the data."""
        return replace(
            self,
            towers=self.towers.with_sizes(regions=sizes.regions, texts=sizes.texts),
            entities=self.entities or sizes.concepts,
        )


def ovsegmentor_base() -> OVSegmentorConfig:
    """Return the paper's configuration: ViT-B/16 in two stages, 8 groups (Eq. 3-6), BERT-base.

    DINO's and BERT's weights have to be set: towers.encoder.weights and towers.text.weights.
    """
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
    """Return the configuration of the released code; see docs/methods/ovsegmentor.md."""
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
        masks="binding",
        relative=True,
        threshold=0.6,
        # the sum over the 128 pictures of a GPU, divided by 8 groups, is 16 means
        mask_weight=0.1 * 128 / 8,
        freeze_text=True,
    )
