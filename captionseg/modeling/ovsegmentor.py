"""OVSegmentor (Xu et al. 2023): groups of tokens that complete captions with masked entities.

Tokens are bound to groups by slot attention. The groups complete captions whose entities are
masked, and pictures that share an entity agree about its mask.

With its own text encoder, a masked caption is a sequence of tokens, and the prompted entities are
one sentence. With frozen text embeddings, as in the default run, a masked caption is one query of
the decoder, and the prompted entities are the mean of their embeddings.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.model_inputs import Batch
from captionseg.modeling.objectives.bags import BagContrast, Bags, Scales
from captionseg.modeling.objectives.completion import (
    Completed,
    Completion,
    WordLogits,
    completion_loss,
    masked_word_loss,
)
from captionseg.modeling.objectives.cross_image import CrossBinding, CrossImage, MaskAgreement
from captionseg.modeling.ovsegmentor_config import OVSegmentorConfig
from captionseg.modeling.readout.group_readout import GroupSegmenter
from captionseg.modeling.segmenter import Gather, Start, gather_single
from captionseg.modeling.towers.dual_encoder import Towers, make_bags, pool_groups
from captionseg.modeling.towers.group_encoder import GroupEncoding


@dataclass(frozen=True)
class OVSegmentorOutputs:
    """What the losses need.

    Attributes:
        groups: bags of groups.
        completed: completed captions with the prompted entities; or logits of masked words; None
            without such an objective.
        cross: inputs of mask consistency; None without it, and before it begins.
    """

    groups: Bags
    completed: Completed | WordLogits | None
    cross: CrossImage | CrossBinding | None


class OVSegmentor(GroupSegmenter):
    """The OVSegmentor model; see the module's docstring."""

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
            of=config.agreement,
            temperature=config.temperature,
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        if config.mask_weight:
            self.momentum_vision = copy.deepcopy(self.towers.vision).requires_grad_(False)
            self.momentum_projector = copy.deepcopy(self.towers.image_projector).requires_grad_(
                False
            )

    def start(self, data: Start) -> None:
        """See Segmenter: statistics of region features, the weights that the config names, and
        embeddings of concepts.
        """
        self.towers.start(data.regions)
        if self.completion is not None and self.towers.text is None and data.concepts is not None:
            self.completion.concepts = data.concepts.clone()
        if self.config.mask_weight:
            self.momentum_vision.load_state_dict(self.towers.vision.state_dict())

    def forward(self, batch: Batch) -> OVSegmentorOutputs:
        """Group tokens, complete captions, and run the momentum encoder.

        Raises:
            UserError: if the objective needs masked captions and the batch has none.
        """
        if self.training:
            self.update_momentum()
        towers, config = self.towers, self.config
        if towers.text is not None and config.freeze_text:
            towers.text.requires_grad_(not self.has_mask_loss)
        encoded = towers.vision(batch.image, batch.regions, batch.region_mask)
        # encoding a sentence is as expensive as a picture, so only what the losses need
        needs_words = self.completion is not None and self.completion.needs_words
        reads_one_text = (
            towers.text is not None and config.objective != "multi_label" and not needs_words
        )
        captions, texts = towers.embed_batch(batch, texts=1 if reads_one_text else None)
        bag = pool_groups(encoded.groups, config.pool)
        completed = (
            self.completion(batch, encoded.groups, towers, texts) if self.completion else None
        )
        has_masks = config.mask_weight and self.has_mask_loss
        cross = self.cross_images(batch, encoded, texts) if has_masks else None
        return OVSegmentorOutputs(
            make_bags(towers.embed(bag), captions, texts, batch), completed, cross
        )

    @property
    def has_mask_loss(self) -> bool:
        """Whether L_mask has begun."""
        return bool(self.steps >= self.config.mask_from)

    def cross_images(
        self, batch: Batch, encoded: GroupEncoding, texts: Tensor
    ) -> CrossImage | CrossBinding:
        """Return the inputs of Eq. 10-12.

        Args:
            batch: the batch.
            encoded: its pictures by the online encoder.
            texts: [B, L, W] drawn concepts, the first of which is the entity.
        """
        concept, entity = batch.text_concept[:, 0], texts[:, 0].detach()
        slow, mask = self.momentum_vision.eval(), batch.region_mask
        with torch.no_grad():
            target = slow(batch.image, batch.regions, batch.region_mask)
            if target.grid is not None:
                mask = torch.ones_like(target.first.keys[..., 0], dtype=torch.bool)
            if self.config.masks == "binding":
                projected = self.towers.image_projector(encoded.groups, observe=False)
                return CrossBinding(
                    encoded.first.queries,
                    target.first.queries,
                    target.first.keys,
                    torch.einsum("bgw,bw->bg", projected.float(), entity),
                    mask,
                    concept,
                    target.grid,
                    self.config.towers.encoder.patch,
                )
            project = self.momentum_projector.eval()
            target_tokens, target_groups = (
                F.normalize(project(x).float(), dim=-1)
                for x in (slow.members(target), target.groups)
            )
        tokens, groups = self.project_unobserved(encoded)
        return CrossImage(tokens, groups, target_tokens, target_groups, mask, concept, entity)

    def project_unobserved(self, encoded: GroupEncoding) -> tuple[Tensor, Tensor]:
        """Return tokens [B, N, W] and groups [B, G, W] in the joint space, L2-normalised.

        They leave the statistics of the projector's batch norm alone: these are those of what is
        compared with texts, in training and later.
        """
        vision = self.towers.vision
        return (
            self.towers.embed(vision.members(encoded), observe=False),
            self.towers.embed(encoded.groups, observe=False),
        )

    @torch.no_grad()
    def update_momentum(self) -> None:
        """Update the exponential moving average of the weights. It is one from the first step, also
        before L_mask begins.
        """
        self.steps += 1
        if self.config.mask_weight:
            pairs = (
                (self.momentum_vision, self.towers.vision),
                (self.momentum_projector, self.towers.image_projector),
            )
            for slow, fast in pairs:
                for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                    a.lerp_(b, 1.0 - self.config.momentum)
                for a, b in zip(slow.buffers(), fast.buffers(), strict=True):
                    a.copy_(b)

    def losses(
        self, outputs: OVSegmentorOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return `caption` (Eq. 7), `entity` (Eq. 9) and `mask` (Eq. 12) of Eq. 13, weighted."""
        config, scale = self.config, self.caption_scale.exp().clamp(max=100.0)
        scales = Scales(scale, scale)
        if config.objective == "multi_label":
            losses = self.contrast(outputs.groups, scales, gather, rank=rank)
            losses["entity"] = config.entity_weight * losses.pop("concept")
        else:
            losses = self.contrast(outputs.groups, scales, gather, rank=rank, parts=("caption",))
        if isinstance(outputs.completed, Completed):
            loss = completion_loss(
                outputs.completed, scale, gather, rank=rank, mask_negatives=config.mask_negatives
            )
            losses["entity"] = config.entity_weight * loss
        elif outputs.completed is not None:
            losses["entity"] = config.entity_weight * masked_word_loss(outputs.completed, gather)
        if config.mask_weight:
            loss = self.agreement(outputs.cross, gather, rank=rank) if outputs.cross else None
            losses["mask"] = scale.new_zeros(()) if loss is None else config.mask_weight * loss
        return losses
