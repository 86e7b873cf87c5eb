"""TCL (Cha et al. 2023): texts are grounded in regions of pictures, which are compared with the
texts.

The frozen encoder's dense features go through a grounder that starts as a copy of its last layers.
In training, pictures go through the encoder (`picture`), as published, or cached dense features are
read. Then masked means of frozen features replace the embeddings of masked pictures.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.dense_head import DenseHead
from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import PictureEncoder
from captionseg.losses.mask_losses import area_prior_loss, harden_masks, total_variation
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.layers.highlight import Highlight
from captionseg.modeling.layers.tcl_grounder import GatedResidual, Grounder
from captionseg.modeling.objectives.pair_losses import (
    Relations,
    Texts,
    find_unique,
    image_contrast,
    inverse_temperature,
    pair_contrast,
    pooled_similarity,
    relate_texts,
)
from captionseg.modeling.segmenter import Gather, Start, gather_single
from captionseg.modeling.tcl_config import GroundingChoices, TclConfig
from captionseg.runtime.device import full_precision

PROMPT_SIDE = 14  # cells along the region prompt over cached features


class TclOutputs(NamedTuple):
    """What the losses need.

    Attributes:
        grounded: [B, D, h, w] features of the grounder.
        frozen: [B, gh, gw, D] frozen features in the joint space.
        image: [B, 3, H, W] pictures; None with cached features.
        texts: the texts of this rank.
        archive: [B, M] archives of the pictures, see Batch.
    """

    grounded: Tensor
    frozen: Tensor
    image: Tensor | None
    texts: Texts
    archive: Tensor


class TextMasks(NamedTuple):
    """Masks of U different texts in the pictures of this rank.

    Attributes:
        logits: [B, U, h, w] of masks.
        vectors: [U, D] embeddings of the different texts.
        number: [T] which of them each of the T texts of all ranks is.
        related: relations of pictures and texts.
        regions: [B, L, D] embedding of each own text's region in its picture.
    """

    logits: Tensor
    vectors: Tensor
    number: Tensor
    related: Relations
    regions: Tensor


class Tcl(nn.Module):
    """The TCL model; see the module's docstring."""

    def __init__(self, config: TclConfig) -> None:
        super().__init__()
        self.config, out = config, config.grounder.head.out
        self.grounder = Grounder(config.grounder)
        self.frozen = DenseHead(config.grounder.head).requires_grad_(False)
        self.live: PictureEncoder | None = None
        self.scale, self.bias = (nn.Parameter(torch.tensor(v)) for v in (config.scale, config.bias))
        start = math.log(1.0 / config.temperature)
        self.image_scale, self.feature_scale = (nn.Parameter(torch.tensor(start)) for _ in range(2))
        linear = nn.Linear(out, out)
        self.text = (
            GatedResidual(linear, linear, config.grounder.gate)
            if config.text_adapter
            else nn.Identity()
        )
        side, channels = (config.picture, 3) if config.picture else (PROMPT_SIDE, out)
        self.highlighted = Highlight(channels, side, prompt=config.prompt)

    def start(self, data: Start) -> None:
        """Copy the frozen encoder's head, for frozen features and as the start of the grounder."""
        if data.space is None:
            return
        head = data.space.head()
        self.frozen.load_state_dict(head.state_dict())
        self.grounder.start(head)
        self.live = data.space.build_picture_encoder()

    def attach(self, encoder: Encoder) -> None:
        """See HoldsEncoder; only used if pictures go through the encoder."""
        self.live = self.live or PictureEncoder(encoder.towers, None)

    @property
    def late_from(self) -> float:
        """See HasLateParameters."""
        return self.config.late_from

    def late_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the copied last block, if the encoder has one."""
        return list(self.grounder.head.block.parameters())

    def dense(self, image: Tensor | None, dense: Tensor | None) -> Tensor:
        """Return the dense features [B, gh, gw, F] of pictures [B, 3, H, W], or cached ones."""
        if not self.config.picture:
            assert dense is not None
            return dense
        assert self.live is not None, "attach the encoder first"
        assert image is not None
        return self.live.dense(image)

    def forward(self, batch: Batch) -> TclOutputs:
        """Ground the captions, or the drawn concepts, in their pictures."""
        if self.config.texts == "captions":
            concepts = batch.caption_concepts[:, None]
            valid = torch.ones_like(concepts[..., 0], dtype=torch.bool)
            return self.ground(batch, batch.caption_embedding[:, None], concepts, valid)
        return self.ground(
            batch, batch.text_embedding, batch.text_concept[..., None], batch.text_concept >= 0
        )

    def ground(self, batch: Batch, texts: Tensor, concepts: Tensor, valid: Tensor) -> TclOutputs:
        """Ground texts in their pictures.

        Args:
            batch: the pictures.
            texts: [B, L, D] embeddings, not normalised.
            concepts: [B, L, K] concepts that each text names, -1 pads.
            valid: [B, L], False pads.
        """
        dense = self.dense(batch.image, batch.dense)
        vectors = self.embed_texts(texts)
        return TclOutputs(
            self.grounder(dense).float(),
            self.frozen(dense).float(),
            batch.image,
            Texts(vectors, concepts, valid),
            batch.archive,
        )

    def embed_texts(self, texts: Tensor) -> Tensor:
        """See EmbedsTexts: [.., D] -> [.., D]."""
        return F.normalize(self.text(texts).float(), dim=-1)

    def match_texts(
        self, outputs: TclOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> TextMasks:
        """Return the masks of the texts of all ranks in this rank's pictures."""
        texts = Texts(*(gather(value) for value in outputs.texts))
        related = relate_texts(
            texts, outputs.archive, rank, mask_negatives=self.config.mask_negatives
        )
        first, number = self.unique_texts(texts)
        vectors = texts.vectors.flatten(0, 1)[first]
        logits = self.logits(outputs.grounded, vectors)
        images, per = outputs.texts.valid.shape
        own = number.view(-1, images, per)[rank][..., None, None].expand(-1, -1, *logits.shape[2:])
        regions = self.highlight(
            harden_masks(logits.gather(1, own), self.config.noise if self.training else 0.0),
            outputs,
        )
        return TextMasks(logits, vectors, number, related, regions)

    def unique_texts(self, texts: Texts) -> tuple[Tensor, Tensor]:
        """Return the positions [U] of different texts, and [T] which each is;
        captions all differ.
        """
        if self.config.texts == "captions":
            number = torch.arange(texts.valid.numel(), device=texts.valid.device)
            return number, number
        return find_unique(texts.concepts.flatten())

    def logits(
        self, grounded: Float[Tensor, "B D h w"], texts: Float[Tensor, "U D"]
    ) -> Float[Tensor, "B U h w"]:
        """Mask logits: w cos(feature, text) + b."""
        with full_precision(grounded):
            return (
                self.scale * torch.einsum("bdhw,td->bthw", F.normalize(grounded, dim=1), texts)
                + self.bias
            )

    def highlight(self, masks: Tensor, outputs: TclOutputs) -> Tensor:
        """Embed the parts of pictures under masks [B, L, h, w]: [B, L, D], see Highlight."""
        if not self.config.picture:
            return self.highlighted.cells(masks, outputs.frozen)
        assert outputs.image is not None
        assert self.live is not None
        return self.highlighted.pixels(masks, outputs.image, self.live)

    def losses(
        self, outputs: TclOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return both contrastive losses, both area losses and total variation, weighted."""
        return self.weighted_losses(
            outputs, self.match_texts(outputs, gather, rank=rank), gather, rank=rank
        )

    def weighted_losses(
        self, outputs: TclOutputs, matched: TextMasks, gather: Gather, *, rank: int
    ) -> dict[str, Tensor]:
        """Return `losses` for the masks of `match_texts`."""
        config, related, masks = self.config, matched.related, matched.logits.sigmoid()
        features = F.normalize(outputs.grounded, dim=1) if config.normalised else outputs.grounded
        cosine = pooled_similarity(masks, features, matched.vectors)[:, matched.number]
        image = pair_contrast(
            matched.regions,
            outputs.texts.vectors,
            related,
            inverse_temperature(self.image_scale),
            gather,
            rank=rank,
        )
        area = masks.mean((2, 3))[:, matched.number]  # [B, T]
        priors = {}
        for name, pairs, prior in (
            ("area", related.own, config.positive_area),
            ("empty", related.negative, config.negative_area),
        ):
            priors[name] = area_prior_loss(
                gather((area * pairs).sum(1)), gather(pairs.sum(1)), prior
            )
        return {
            "image": config.image_weight * image,
            "feature": config.feature_weight
            * image_contrast(
                cosine, related, inverse_temperature(self.feature_scale), gather, config.multi_label
            ),
            "area": config.positive_weight * priors["area"],
            "empty": config.negative_weight * priors["empty"],
            "smooth": config.smooth_features * total_variation(features)
            + config.smooth_masks * total_variation(masks),
        }

    @property
    def zero_shot(self) -> GroundingChoices:
        """See HasZeroShotChoices."""
        return self.config.zero_shot

    def segment(
        self, inputs: Inputs, class_embeddings: Tensor, choices: GroundingChoices | None = None
    ) -> Tensor:
        """See HasZeroShotChoices. Scores are bilinearly upsampled: cosines, or masks in 0..1 with
        the knowledge prior or a background.
        """
        dense, choices = self.dense(inputs.image, inputs.dense), choices or self.zero_shot
        texts, grounded = self.embed_texts(class_embeddings), self.grounder(dense).float()
        logits = torch.einsum("bdhw,cd->bchw", F.normalize(grounded, dim=1), texts)
        if choices.knowledge or choices.background is not None:
            logits = (self.scale * logits + self.bias).sigmoid()
        if choices.knowledge:
            frozen_masks = F.interpolate(
                self.frozen_masks(dense, class_embeddings),
                logits.shape[2:],
                mode="bilinear",
                align_corners=False,
            )
            logits = choices.knowledge * frozen_masks + (1.0 - choices.knowledge) * logits
        logits = F.interpolate(logits, inputs.size, mode="bilinear", align_corners=False)
        if choices.background is None:
            return logits
        return torch.cat([torch.full_like(logits[:, :1], choices.background), logits], 1)

    def frozen_masks(
        self,
        dense: Float[Tensor, "batch gh gw feature"],
        class_embeddings: Float[Tensor, "class embedding"],
    ) -> Float[Tensor, "batch class gh gw"]:
        """Return masks of the frozen features in 0..1, with the released scale and bias."""
        frozen, classes = (
            F.normalize(x.float(), dim=-1) for x in (self.frozen(dense), class_embeddings)
        )
        return (10.0 * (torch.einsum("bhwd,cd->bchw", frozen, classes) - 0.25)).sigmoid()

    def label(
        self, inputs: Inputs, class_embeddings: Tensor, choices: GroundingChoices | None = None
    ) -> Tensor:
        """See HasZeroShotChoices."""
        scores = self.segment(inputs, class_embeddings, choices)
        return scores.argmax(1) - (scores.shape[1] - len(class_embeddings))
