"""TCL (Cha et al. 2023): each text is grounded in a region of each picture, and regions are
compared with texts.

The frozen encoder's dense features go through a grounder that starts as a copy of its last layers.
Training pictures go through the encoder too (`picture`), as published, or their dense features are
read as they were cached: then the masked picture of the image-level loss is the masked mean of
frozen features.
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
from captionseg.losses.masks import area_prior, hard, total_variation
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.layers.grounder import GatedResidual, Grounder
from captionseg.modeling.layers.highlight import Highlight
from captionseg.modeling.objectives.pairs import (
    Relations,
    Texts,
    first_of_each,
    image_contrast,
    pair_contrast,
    relations,
)
from captionseg.modeling.segmenter import Gather, Start, gather_single
from captionseg.modeling.tcl_config import GroundingChoices, TclConfig
from captionseg.runtime.device import full_precision

PROMPT_SIDE = 14  # of a region prompt over cached features


class TclOutputs(NamedTuple):
    """What the losses need: grounded features [B, D, h, w], frozen ones in the joint space [B, gh,
    gw, D], the pictures or None, texts and archives [B, M]."""

    grounded: Tensor
    frozen: Tensor
    image: Tensor | None
    texts: Texts
    archive: Tensor


class TextMasks(NamedTuple):
    """Masks and what they are of: logits [B, U, h, w] for U different texts, `number` [T] which of
    them each text of all ranks is, its relations, and the embeddings [B, L, D] of each text's own
    region."""

    logits: Tensor
    vectors: Tensor
    number: Tensor
    related: Relations
    regions: Tensor


class Tcl(nn.Module):
    """See the module's docstring."""

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

    def start(self, given: Start) -> None:
        """Take the frozen encoder's head, as it is and as the grounder's start."""
        if given.space is None:
            return
        head = given.space.head()
        self.frozen.load_state_dict(head.state_dict())
        self.grounder.start(head)
        self.live = given.space.build_picture_encoder()

    def attach(self, encoder: Encoder) -> None:
        """See HoldsEncoder; for pictures that go through the encoder."""
        self.live = self.live or PictureEncoder(encoder.towers, None)

    @property
    def late_from(self) -> float:
        """See HasLateParameters."""
        return self.config.late_from

    def late_parameters(self) -> list[nn.Parameter]:
        """The copied last block, where the encoder has one."""
        return list(self.grounder.head.block.parameters())

    def dense(self, image: Tensor | None, dense: Tensor | None) -> Tensor:
        """[B, gh, gw, F] of pictures, or as they were cached."""
        if not self.config.picture:
            assert dense is not None
            return dense
        assert self.live is not None, "attach the encoder first"
        assert image is not None
        return self.live.dense(image)

    def forward(self, batch: Batch) -> TclOutputs:
        """Ground the pictures with their captions, or with the concepts drawn."""
        if self.config.texts == "captions":
            concepts = batch.caption_concepts[:, None]
            valid = torch.ones_like(concepts[..., 0], dtype=torch.bool)
            return self.ground(batch, batch.caption_embedding[:, None], concepts, valid)
        return self.ground(
            batch, batch.text_embedding, batch.text_concept[..., None], batch.text_concept >= 0
        )

    def ground(self, batch: Batch, texts: Tensor, concepts: Tensor, valid: Tensor) -> TclOutputs:
        """Ground the pictures; the rest as in Texts, vectors not normalised."""
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
        """[.., D] -> the same, L2-normalised."""
        return F.normalize(self.text(texts).float(), dim=-1)

    def match_texts(
        self, outputs: TclOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> TextMasks:
        """Masks of the texts of all ranks on this rank's pictures; equal concepts are compared
        once.
        """
        every = Texts(*(gather(value) for value in outputs.texts))
        related = relations(every, outputs.archive, rank, mask_negatives=self.config.mask_negatives)
        first, number = self.unique_texts(every)
        vectors = every.vectors.flatten(0, 1)[first]
        logits = self.logits(outputs.grounded, vectors)
        images, per = outputs.texts.valid.shape
        own = number.view(-1, images, per)[rank][..., None, None].expand(-1, -1, *logits.shape[2:])
        regions = self.highlight(
            hard(logits.gather(1, own), self.config.noise if self.training else 0.0), outputs
        )
        return TextMasks(logits, vectors, number, related, regions)

    def unique_texts(self, every: Texts) -> tuple[Tensor, Tensor]:
        """Positions [U] of the different texts, and [T] which of them each is; captions are all
        different.
        """
        if self.config.texts == "captions":
            number = torch.arange(every.valid.numel(), device=every.valid.device)
            return number, number
        return first_of_each(every.concepts.flatten())

    def logits(
        self, grounded: Float[Tensor, "B D h w"], texts: Float[Tensor, "U D"]
    ) -> Float[Tensor, "B U h w"]:
        """w cos + b of features and texts."""
        with full_precision(grounded):
            return (
                self.scale * torch.einsum("bdhw,td->bthw", F.normalize(grounded, dim=1), texts)
                + self.bias
            )

    def highlight(self, masks: Tensor, outputs: TclOutputs) -> Tensor:
        """[B, L, D]: frozen embeddings of what masks [B, L, h, w] show, see Highlight."""
        if not self.config.picture:
            return self.highlighted.cells(masks, outputs.frozen)
        assert outputs.image is not None
        assert self.live is not None
        return self.highlighted.pixels(masks, outputs.image, self.live)

    def losses(
        self, outputs: TclOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Both contrastive losses, both area priors, and total variation, with their weights."""
        return self.terms(outputs, self.match_texts(outputs, gather, rank=rank), gather, rank=rank)

    def terms(
        self, outputs: TclOutputs, matched: TextMasks, gather: Gather, *, rank: int
    ) -> dict[str, Tensor]:
        """`losses` of texts with their masks."""
        config, related, masks = self.config, matched.related, matched.logits.sigmoid()
        features = F.normalize(outputs.grounded, dim=1) if config.normalised else outputs.grounded
        cosine = pooled_similarity(masks, features, matched.vectors)[:, matched.number]
        image = pair_contrast(
            matched.regions,
            outputs.texts.vectors,
            related,
            inverse(self.image_scale),
            gather,
            rank=rank,
        )
        area = masks.mean((2, 3))[:, matched.number]  # [B, T]
        priors = {}
        for name, pairs, prior in (
            ("area", related.own, config.positive_area),
            ("empty", related.negative, config.negative_area),
        ):
            priors[name] = area_prior(gather((area * pairs).sum(1)), gather(pairs.sum(1)), prior)
        return {
            "image": config.image_weight * image,
            "feature": config.feature_weight
            * image_contrast(
                cosine, related, inverse(self.feature_scale), gather, config.multi_label
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
        """Mask logits [B, C, height, width], bilinearly upsampled: cosines, or masks in 0..1 with
        KP or background; see HasZeroShotChoices.
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
        """In 0..1: masks of the frozen features, as released."""
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


def inverse(log_scale: Tensor) -> Tensor:
    """1 / tau, at most 100."""
    return log_scale.exp().clamp(max=100.0)


def pooled_similarity(
    masks: Float[Tensor, "B U h w"], features: Float[Tensor, "B D h w"], texts: Float[Tensor, "U D"]
) -> Float[Tensor, "B U"]:
    """[B, U]: cosine of each text [U, D] with the mean of features [B, D, h, w] under its mask [B,
    U, h, w].
    """
    with full_precision(features):
        weights = masks.flatten(2) / masks.flatten(2).sum(2, keepdim=True).clamp(min=1e-6)
        # [B, U, D]
        vectors = F.normalize(weights @ features.flatten(2).transpose(1, 2), dim=-1, eps=1e-6)
        return (vectors * texts).sum(2)
