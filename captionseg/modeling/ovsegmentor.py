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
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.model_inputs import Batch
from captionseg.modeling.objectives.bags import BagContrast, Bags, Scales
from captionseg.modeling.objectives.completion import Completion, WordLogits, masked_word_loss
from captionseg.modeling.objectives.cross_image import CrossImage, MaskAgreement
from captionseg.modeling.ovsegmentor_config import OVSegmentorConfig
from captionseg.modeling.readout.group_readout import GroupSegmenter
from captionseg.modeling.segmenter import Gather, Start, gather_single
from captionseg.modeling.towers.dual_encoder import Towers, make_bags, pool_groups


@dataclass(frozen=True)
class OVSegmentorOutputs:
    """What the losses need.

    Attributes:
        groups: bags of groups.
        completed: completed captions, whose texts are the prompted entities; or logits of masked
            words; None without such an objective.
        cross: inputs of mask consistency; None without it.
    """

    groups: Bags
    completed: Bags | WordLogits | None
    cross: CrossImage | None


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
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        if config.mask_weight:
            self.momentum_vision = copy.deepcopy(self.towers.vision).requires_grad_(False)
            self.momentum_projector = copy.deepcopy(self.towers.image_projector).requires_grad_(
                False
            )

    def start(self, data: Start) -> None:
        """See Segmenter: statistics of region features, and the weights that the config names."""
        self.towers.start(data.regions)
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
        reads_one_text = towers.text is not None and config.objective != "multi_label"
        captions, texts = towers.embed_batch(batch, texts=1 if reads_one_text else None)
        bag = pool_groups(encoded.groups, config.pool)
        completed = (
            self.completion(batch, encoded.groups, towers, texts) if self.completion else None
        )
        cross = self.cross_image(batch, texts) if config.mask_weight else None
        if cross is not None:
            cross = replace(cross, tokens=towers.embed(towers.vision.members(encoded)))
        return OVSegmentorOutputs(
            make_bags(towers.embed(bag), captions, texts, batch), completed, cross
        )

    @property
    def has_mask_loss(self) -> bool:
        """Whether L_mask has begun."""
        return bool(self.steps >= self.config.mask_from)

    def cross_image(self, batch: Batch, texts: Tensor) -> CrossImage:
        """Return the inputs of Eq. 10-12, all by the momentum encoder; texts are [B, L, W]."""
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
        """Update the exponential moving average of the weights."""
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
        """Return `caption` (Eq. 7), `entity` (Eq. 9) and `mask` (Eq. 12) of Eq. 13, weighted."""
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
            losses["entity"] = config.entity_weight * masked_word_loss(outputs.completed, gather)
        if outputs.cross is not None:
            loss = self.agreement(outputs.cross, gather, rank=rank)
            losses["mask"] = config.mask_weight * float(self.has_mask_loss) * loss
        return losses
