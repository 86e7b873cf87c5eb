"""OVSegmentor (Xu et al. 2023): tokens are bound to groups; groups complete captions whose entities are masked, and
agree about masks across pictures that share an entity.

Of frozen text embeddings, as the default run has them: a masked caption is one query of the decoder, not a sequence,
and the prompted entities are the mean of their embeddings, not one sentence.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.losses.consistency import mask_consistency
from captionseg.losses.contrastive import MultiLabel
from captionseg.modeling.bags import BagContrast, Bags, Scales, mean_over_ranks
from captionseg.modeling.group_encoder import GroupEncoder
from captionseg.modeling.group_readout import read_out
from captionseg.modeling.layers.grouping import Assign
from captionseg.modeling.layers.transformer import CrossBlock, Norm, Projector
from captionseg.modeling.segmenter import Gather, alone
from captionseg.modeling.zero_shot import Maps, Score
from captionseg.records import Batch, Inputs, UserError

Objective = Literal["all_entities", "single_entity", "all_nouns", "multi_label", "none"]


@dataclass(frozen=True)
class OVSegmentorConfig:
    """What defines an OVSegmentor.

    Attributes:
        tokens, size, patch, region_width, width, heads, depths, group_tokens, groups, binding, assign, assign_eps,
            token_std, drop_path, dropout: of the encoder, as in GroupViTConfig. The paper has depths [6, 6].
        text_width: D of the text embeddings; 0 takes it from the data.
        hidden, embedding, norm: of the projectors, as in GroupViTConfig.
        pool: as in GroupViTConfig; the paper has mean.
        objective: of Table 4. Which words are masked in `masked_embedding`; multi_label is GroupViT's loss in its
            place, none the baseline.
        entity_weight: of L_entity.
        mask_weight: lambda of L_mask; 0 leaves it out.
        mask_from: steps before L_mask begins (the schedule of two stages).
        ratio: r, share of the groups that are nearest to the shared entity (Table 5).
        threshold: delta, above which a mask is a target; with `relative` the share of each mask's maximum, as the
            released code has it.
        mask_scale: of the cosine of tokens and groups before the sigmoid of Eq. 10.
        momentum: of the second encoder.
        temperature, multi_label, mask_negatives, readout, score, top_k, maps: as in GroupViTConfig.
    """

    tokens: Literal["regions"] = "regions"
    size: int = 224
    patch: int = 16
    region_width: int = 0
    text_width: int = 0
    width: int = 128
    heads: int = 4
    depths: list[int] = field(default_factory=lambda: [0, 0])
    group_tokens: list[int] = field(default_factory=lambda: [8, 0])
    groups: list[int] = field(default_factory=lambda: [8])
    binding: Literal["groupvit", "slots"] = "slots"
    assign: Assign = "soft"
    assign_eps: float = 1e-6
    token_std: float = 0.02
    drop_path: float = 0.0
    dropout: float = 0.5
    hidden: int = 256
    embedding: int = 256
    norm: Norm = "layer"
    pool: Literal["mean", "max"] = "max"
    objective: Objective = "all_entities"
    entity_weight: float = 1.0
    mask_weight: float = 0.1
    mask_from: int = 0
    ratio: float = 0.5
    threshold: float = 0.65
    relative: bool = False
    mask_scale: float = 10.0
    momentum: float = 0.99
    temperature: float = 0.07
    multi_label: MultiLabel = "log_sum"
    mask_negatives: bool = True
    readout: Literal["groups", "regions", "both"] = "both"
    score: Score = "cosine"
    top_k: int = 0
    maps: Maps = "soft"

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio <= 1.0:
            raise ValueError(f"ovsegmentor: ratio {self.ratio} is not above 0 and at most 1")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"ovsegmentor: momentum {self.momentum} is not from 0 to below 1")

    @property
    def masking(self) -> Literal["all", "one", "nouns"] | None:
        """Which words of captions are masked for this objective."""
        names: dict[str, Literal["all", "one", "nouns"]] = {
            "all_entities": "all", "single_entity": "one", "all_nouns": "nouns"}
        return names.get(self.objective)


@dataclass(frozen=True)
class CrossImage:
    """What Eq. 10-12 need; G groups, N tokens, all L2-normalised in the joint space.

    Attributes:
        tokens: [B, N, W] of the online encoder, the only ones with a gradient.
        target_tokens: [B, N, W] of the momentum encoder, and its groups [B, G, W].
        target_groups: see target_tokens.
        mask: [B, N] bool.
        concept: [B] int64, the entity that a partner is sought for; -1 has none.
        entity: [B, W] its embedding.
    """

    tokens: Tensor
    target_tokens: Tensor
    target_groups: Tensor
    mask: Tensor
    concept: Tensor
    entity: Tensor


@dataclass(frozen=True)
class OVSegmentorOutputs:
    """The bags of groups; the completed captions as bags of one with the prompted entities as captions, or None; and
    what mask consistency needs, or None."""

    groups: Bags
    completed: Bags | None
    cross: CrossImage | None


class OVSegmentor(nn.Module):
    """See the module's docstring."""

    steps: Tensor

    def __init__(self, config: OVSegmentorConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = GroupEncoder(config)
        self.image_projector = Projector(config.width, config.hidden, config.embedding, norm=config.norm)
        self.text_projector = Projector(config.text_width, config.hidden, config.embedding, norm=config.norm)
        if config.masking:
            self.query = nn.Linear(config.text_width, config.width)
            self.decoder = CrossBlock(config.width, config.heads)
            self.bridge = Projector(config.width, config.hidden, config.embedding, norm=config.norm)
        self.caption_scale = nn.Parameter(torch.tensor(math.log(1.0 / config.temperature)))
        self.contrast = BagContrast(0.0, config.multi_label, config.mask_negatives)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        if config.mask_weight:
            self.momentum_vision = copy.deepcopy(self.vision).requires_grad_(False)
            self.momentum_projector = copy.deepcopy(self.image_projector).requires_grad_(False)

    def standardise(self, regions: Tensor) -> None:
        """Statistics of the region features [n, F]."""
        self.vision.standardise(regions)
        if self.config.mask_weight:
            self.momentum_vision.standardise(regions)

    def forward(self, batch: Batch) -> OVSegmentorOutputs:
        """Group, complete captions, and look at the picture through the momentum encoder.

        Raises:
            UserError: where the objective needs masked captions and the batch has none.
        """
        if self.training:
            self.update_momentum()
        encoded = self.vision(batch.image, batch.regions, batch.region_mask)
        captions, texts = self.embed_texts(batch.caption_embedding), self.embed_texts(batch.text_embedding)
        rest = captions, texts, batch.caption_concepts, batch.text_concept, batch.archive
        bag = encoded.groups if self.config.pool == "max" else encoded.groups.mean(1, keepdim=True)
        groups = Bags(self.embed(bag), torch.ones_like(bag[..., 0], dtype=torch.bool), *rest)
        return OVSegmentorOutputs(groups, self.completed(batch, encoded.groups, texts),
                                  self.cross_image(batch, self.embed(encoded.members), texts))

    def completed(self, batch: Batch, groups: Tensor, texts: Tensor) -> Bags | None:
        """Eq. 8: masked captions ask the groups for what is missing; the answer is the mean of the drawn entities."""
        if not self.config.masking:
            return None
        if batch.masked_embedding is None:
            raise UserError("ovsegmentor: batches hold no masked captions; this is a mistake of the loader")
        query = self.query(batch.masked_embedding)[:, None]
        found = F.normalize(self.bridge(self.decoder(query, groups)).float(), dim=-1)  # [B, 1, W]
        drawn = (batch.text_concept >= 0)[..., None]
        answer = F.normalize((texts * drawn).sum(1), dim=-1)
        return Bags(found, torch.ones_like(found[..., 0], dtype=torch.bool), answer, texts, batch.text_concept,
                    batch.text_concept, batch.archive)

    def cross_image(self, batch: Batch, tokens: Tensor, texts: Tensor) -> CrossImage | None:
        """What Eq. 10-12 need, while they count."""
        if not self.config.mask_weight:
            return None
        with torch.no_grad():
            self.momentum_vision.eval()
            target = self.momentum_vision(batch.image, batch.regions, batch.region_mask)
            members, groups = (F.normalize(self.momentum_projector(x).float(), dim=-1)
                               for x in (target.members, target.groups))
            return CrossImage(tokens, members, groups, batch.region_mask, batch.text_concept[:, 0],
                              texts[:, 0].detach())

    @torch.no_grad()
    def update_momentum(self) -> None:
        """One step of the exponential mean of the online weights."""
        self.steps += 1
        if self.config.mask_weight:
            for slow, fast in ((self.momentum_vision, self.vision), (self.momentum_projector, self.image_projector)):
                for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                    a.lerp_(b, 1.0 - self.config.momentum)

    def embed(self, x: Tensor) -> Tensor:
        """Image side: [.., width] -> [.., embedding], L2-normalised."""
        return F.normalize(self.image_projector(x).float(), dim=-1)

    def embed_texts(self, texts: Tensor) -> Tensor:
        """[.., D] -> [.., embedding], L2-normalised."""
        return F.normalize(self.text_projector(texts).float(), dim=-1)

    def losses(self, outputs: OVSegmentorOutputs, gather: Gather = alone, *, rank: int = 0) -> dict[str, Tensor]:
        """Eq. 13: `caption` (Eq. 7), `entity` (Eq. 9) and `mask` (Eq. 12) with their weights; one temperature."""
        scale = self.caption_scale.exp().clamp(max=100.0)
        both = self.contrast(outputs.groups, Scales(scale, scale), gather, rank=rank)
        losses = {"caption": both["caption"]}
        if self.config.objective == "multi_label":
            losses["entity"] = self.config.entity_weight * both["concept"]
        if outputs.completed is not None:
            found = self.contrast(outputs.completed, Scales(scale, scale), gather, rank=rank)["caption"]
            losses["entity"] = self.config.entity_weight * found
        if outputs.cross is not None:
            begun = float(self.steps >= self.config.mask_from)
            losses["mask"] = self.config.mask_weight * begun * self.consistency(outputs.cross, gather, rank=rank)
        return losses

    def consistency(self, cross: CrossImage, gather: Gather, *, rank: int) -> Tensor:
        """Eq. 12: each picture with one that shares its entity, the next such in the batch of all ranks.

        Both directions of a pair are counted where two pictures share an entity, each in its own turn.
        """
        concepts, groups = gather(cross.concept), gather(cross.target_groups)
        partner = partners(concepts)[rank * len(cross.concept) :][: len(cross.concept)]
        here = partner >= 0
        count = mean_over_ranks(here, gather)
        kept = max(1, int(self.config.ratio * groups.shape[1]))
        own, other = (nearest(g, cross.entity, kept) for g in (cross.target_groups, groups[partner.clamp(min=0)]))
        scale, seen = self.config.mask_scale, cross.mask & here[:, None]
        target = torch.sigmoid(scale * own @ cross.target_tokens.transpose(1, 2))
        predicted = torch.sigmoid(scale * other @ cross.tokens.transpose(1, 2))
        each = mask_consistency(target, predicted, seen, threshold=self.config.threshold,
                                relative=self.config.relative)  # fmt: skip
        return 0.5 * (each * here).sum() / count

    def segment(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Mask logits [B, C, height, width] (Eq. 1 with the readout of the config)."""
        encoded = self.vision(inputs.image, inputs.regions, inputs.region_mask)
        scale = self.caption_scale.exp().clamp(max=100.0)
        return read_out(encoded, self.embed, self.embed_texts(class_embeddings), scale, self.config, inputs)

    def label(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """See Segmenter."""
        return self.segment(inputs, class_embeddings).argmax(1)


def partners(concepts: Tensor) -> Tensor:
    """[n] int64: for each picture the next one, cyclically, whose concept is the same; -1 where there is none.

    Args:
        concepts: [n] int64, -1 for a picture without one.
    """
    order = torch.argsort(concepts, stable=True)
    ordered = concepts[order]
    _, group, count = ordered.unique_consecutive(return_inverse=True, return_counts=True)
    first = count.cumsum(0) - count
    place = torch.arange(len(order), device=order.device) - first[group]
    following = order[first[group] + (place + 1) % count[group]]
    following = torch.where((ordered < 0) | (count[group] < 2), -1, following)
    return torch.empty_like(order).scatter_(0, order, following)


def nearest(groups: Tensor, entity: Tensor, count: int) -> Tensor:
    """[B, count, W]: the groups [B, G, W] that are nearest to an entity [B, W]."""
    best = torch.einsum("bgw,bw->bg", groups, entity).topk(count, 1).indices
    return groups.gather(1, best[..., None].expand(-1, -1, groups.shape[2]))
