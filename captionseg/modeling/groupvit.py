"""GroupViT (Xu et al. 2022): tokens are grouped stage by stage, groups are matched with texts.

The paper's model, with the parts that only its code has, and what makes groups work on small data: regions in place of
patches, one slot step in place of the grouping block, the maximum over groups in place of their mean. Every one of
these is a field; `groupvit_small()` is the published model, the defaults are those of the default run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.losses.contrastive import MultiLabel
from captionseg.modeling.bags import BagContrast, Bags, Scales
from captionseg.modeling.group_encoder import GroupEncoder
from captionseg.modeling.group_readout import read_out
from captionseg.modeling.layers.grouping import Assign
from captionseg.modeling.layers.text import TextTransformer
from captionseg.modeling.layers.transformer import Norm, Projector
from captionseg.modeling.segmenter import Gather, alone
from captionseg.modeling.zero_shot import Maps, Score
from captionseg.records import Batch, Inputs


@dataclass(frozen=True)
class GroupViTConfig:
    """What defines a GroupViT.

    Attributes:
        tokens: pixels (patches, by a convolution) or regions (pooled frozen features).
        size, patch: of the training pictures and of a patch, in pixels.
        region_width: F, features of a region; 0 takes it from the data.
        text: transformer (CLIP's, trained with the rest, on tokens) or frozen (embeddings from outside).
        text_width: D of the text embeddings; 0 takes it from the data. text_depth, text_heads: of the transformer.
        width, heads: of the image encoder.
        depths: transformer blocks a stage.
        group_tokens: learnt tokens a stage; 0 in a stage that does not group.
        groups: groups that leave a stage; one number less than depths, or as many.
        binding: groupvit is the full grouping block, slots OVSegmentor's Eq. 3-6.
        assign: gumbel (one-hot) or soft.
        assign_eps: added to the size of a group before it divides.
        token_std: of the learnt group tokens at the start.
        drop_path: of the last block; it rises linearly from 0. dropout: on region features.
        hidden, embedding: of the projectors into the joint space.
        norm: inside the projectors; with batch statistics an image knows its batch.
        pool: mean is one vector an image, the mean of its groups; max compares a text with the group that it fits best.
        segment_weight: of the same losses with the members as bag (see Encoded). 0 leaves them out.
        readout: pixels have the scores of their group, of their region (tokens: regions alone), or their sum.
        temperature, multi_label, mask_negatives, caption_weight: as in SegmentMilConfig, but with one temperature each
            for captions and concepts.
        score, top_k, maps: of captionseg.modeling.zero_shot; top_k 0 keeps all classes.
    """

    tokens: Literal["pixels", "regions"] = "regions"
    size: int = 224
    patch: int = 16
    region_width: int = 0
    text: Literal["transformer", "frozen"] = "frozen"
    text_width: int = 0
    text_depth: int = 12
    text_heads: int = 4
    width: int = 128
    heads: int = 4
    depths: list[int] = field(default_factory=lambda: [0])
    group_tokens: list[int] = field(default_factory=lambda: [8])
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
    segment_weight: float = 0.0
    readout: Literal["groups", "regions", "both"] = "both"
    temperature: float = 0.07
    multi_label: MultiLabel = "log_sum"
    mask_negatives: bool = True
    caption_weight: float = 1.0
    score: Score = "cosine"
    top_k: int = 0
    maps: Maps = "soft"

    def __post_init__(self) -> None:
        stages = len(self.depths)
        if len(self.group_tokens) != stages or len(self.groups) not in (stages, stages - 1):
            raise ValueError(f"groupvit: {stages} depths need as many group_tokens, and as many groups or one less")
        if self.width % self.heads:
            raise ValueError(f"groupvit: width {self.width} is no multiple of {self.heads} heads")
        if self.tokens == "pixels" and self.readout != "groups":
            raise ValueError("groupvit: readout regions or both needs tokens: regions")


def groupvit_small() -> GroupViTConfig:
    """The published model: 55,726,610 parameters with its text encoder and projectors."""
    return GroupViTConfig(
        tokens="pixels", text="transformer", text_width=256, width=384, heads=6, depths=[6, 3, 3],
        group_tokens=[64, 8, 0], groups=[64, 8], binding="groupvit", assign="gumbel", assign_eps=1.0, token_std=0.02,
        drop_path=0.1, dropout=0.0, hidden=4096, norm="batch", pool="mean", readout="groups", mask_negatives=False,
        score="product", top_k=5)


class GroupOutputs(NamedTuple):
    """What the losses need: the bags of pooled images or groups, and of the first tokens, or None."""

    groups: Bags
    segments: Bags | None


class GroupViT(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: GroupViTConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = GroupEncoder(config)
        self.text = (TextTransformer(config.text_width, config.text_depth, config.text_heads)
                     if config.text == "transformer" else None)
        self.image_projector = Projector(config.width, config.hidden, config.embedding, norm=config.norm)
        self.text_projector = Projector(config.text_width, config.hidden, config.embedding, norm=config.norm)
        start = math.log(1.0 / config.temperature)
        self.caption_scale, self.concept_scale = (nn.Parameter(torch.tensor(start)) for _ in range(2))
        self.contrast = BagContrast(0.0, config.multi_label, config.mask_negatives, config.text == "frozen")

    def standardise(self, regions: Tensor) -> None:
        """Statistics of the region features [n, F], where there are any."""
        self.vision.standardise(regions)

    def forward(self, batch: Batch) -> GroupOutputs:
        """Embed an image's groups (or their mean), its caption and the concepts drawn."""
        encoded = self.vision(batch.image, batch.regions, batch.region_mask)
        captions, texts = self.embed_batch(batch)
        rest = captions, texts, batch.caption_concepts, batch.text_concept, batch.archive
        bag = encoded.groups if self.config.pool == "max" else encoded.groups.mean(1, keepdim=True)
        groups = Bags(self.embed(bag), torch.ones_like(bag[..., 0], dtype=torch.bool), *rest)
        if not self.config.segment_weight:
            return GroupOutputs(groups, None)
        return GroupOutputs(groups, Bags(self.embed(encoded.members), batch.region_mask, *rest))

    def embed(self, x: Tensor) -> Tensor:
        """Image side: [.., width] -> [.., embedding], L2-normalised."""
        return F.normalize(self.image_projector(x).float(), dim=-1)

    def embed_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Captions [B, W] and drawn concepts [B, L, W], through the projector together: its norm sees both."""
        if self.text is None or batch.caption_tokens is None or batch.text_tokens is None:
            given = torch.cat([batch.caption_embedding[:, None], batch.text_embedding], 1)
        else:
            tokens = torch.cat([batch.caption_tokens[:, None], batch.text_tokens], 1)
            given = self.text(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        out = F.normalize(self.text_projector(given).float(), dim=-1)
        return out[:, 0], out[:, 1:]

    def embed_classes(self, classes: Tensor) -> Tensor:
        """[C, W], L2-normalised, of frozen embeddings [C, D], or of what `encode_text` gave for the model's own."""
        return F.normalize((self.text_projector(classes) if self.text is None else classes).float(), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """[T, W] of CLIP tokens [T, context], projected and not normalised: prompts of a class are averaged so."""
        if self.text is None:
            raise ValueError("this groupvit has no text encoder of its own (text: frozen)")
        return self.text_projector(self.text(tokens))

    def losses(self, outputs: GroupOutputs, gather: Gather = alone, *, rank: int = 0) -> dict[str, Tensor]:
        """`caption` and `concept` as in BagContrast, each with its own temperature, and the same of segments."""
        scales = Scales(*(s.exp().clamp(max=100.0) for s in (self.caption_scale, self.concept_scale)))
        losses = self.contrast(outputs.groups, scales, gather, rank=rank)
        if outputs.segments is not None:
            extra = self.contrast(outputs.segments, scales, gather, rank=rank)
            losses |= {f"segment_{k}": self.config.segment_weight * v for k, v in extra.items()}
        return {k: self.config.caption_weight * v if k.endswith("caption") else v for k, v in losses.items()}

    def segment(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """Mask logits [B, C, height, width]; of one window, without background."""
        encoded = self.vision(inputs.image, inputs.regions, inputs.region_mask)
        scale = self.caption_scale.exp().clamp(max=100.0)
        return read_out(encoded, self.embed, self.embed_classes(class_embeddings), scale, self.config, inputs)

    def label(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """See Segmenter."""
        return self.segment(inputs, class_embeddings).argmax(1)
