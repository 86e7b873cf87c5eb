"""GroupViT (Xu et al. 2022): tokens are grouped stage by stage, groups are matched with texts.

The paper's model, with the parts that only its code has, and what makes groups work on small data: regions in place of
patches, one slot step in place of the grouping block, the maximum over groups in place of their mean. Every one of
these is a field; `groupvit_small()` is the published model, the defaults are those of the default run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.losses.contrastive import MultiLabel
from captionseg.modeling.bags import BagContrast, Bags, Scales
from captionseg.modeling.layers.grouping import Assign, Grouped, Grouping, Slots, TokenMixer, compose
from captionseg.modeling.layers.text import TextTransformer
from captionseg.modeling.layers.tokens import PatchTokens, RegionTokens
from captionseg.modeling.layers.transformer import Block, Norm, Projector
from captionseg.modeling.regions import paint_scores
from captionseg.modeling.segmenter import Gather, alone
from captionseg.modeling.zero_shot import Maps, Score, class_scores, paint
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


class Encoded(NamedTuple):
    """An image, grouped.

    Attributes:
        members: [B, N, D] after the last norm: each first token as the only member of its group.
        groups: [B, G, D] after the last norm.
        maps: assignments stage by stage, noise-free; [B, G1, N], [B, G2, G1], ..
        grid: (rows, columns) that the first tokens stand for; None for regions.
    """

    members: Tensor
    groups: Tensor
    maps: list[Tensor]
    grid: tuple[int, int] | None


class GroupOutputs(NamedTuple):
    """What the losses need: the bags of pooled images or groups, and of the first tokens, or None."""

    groups: Bags
    segments: Bags | None


class Stage(nn.Module):
    """Transformer blocks over tokens and group tokens together, then grouping; without group tokens blocks alone."""

    def __init__(self, config: GroupViTConfig, number: int, drop_path: list[float]) -> None:
        super().__init__()
        width, count = config.width, config.group_tokens[number]
        self.group_token, self.project, self.grouping = None, None, None
        before = config.group_tokens[number - 1] if number else 0
        if count:
            self.group_token = nn.Parameter(torch.zeros(1, count, width))
            if before:
                self.project = nn.Sequential(nn.LayerNorm(width), TokenMixer(before, width // 2, count))
            else:
                nn.init.trunc_normal_(self.group_token, std=config.token_std, a=-4.0, b=4.0)
            self.grouping = (
                Grouping(width, config.heads, count, config.groups[number], assign=config.assign, eps=config.assign_eps)
                if config.binding == "groupvit" else Slots(width, assign=config.assign, eps=config.assign_eps))
        self.blocks = nn.ModuleList(Block(width, config.heads, drop_path=p) for p in drop_path)

    def forward(self, x: Tensor, before: Tensor | None, mask: Tensor | None) -> tuple[Grouped | Tensor, Tensor | None]:
        """(groups or x, group tokens after the blocks); `before` are the group tokens of the stage before."""
        if self.group_token is None or self.grouping is None:
            return self.through(x, mask), None
        tokens = self.group_token.expand(len(x), -1, -1)
        if self.project is not None and before is not None:
            tokens = tokens + self.project(before)
        if len(self.blocks):
            seen = None if mask is None else torch.cat([mask, mask.new_ones(tokens.shape[:2])], 1)
            x, tokens = self.through(torch.cat([x, tokens], 1), seen).split([x.shape[1], tokens.shape[1]], 1)
        return self.grouping(x, tokens, mask), tokens

    def through(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """All blocks."""
        for block in self.blocks:
            x = block(x, mask)
        return x


class GroupViT(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: GroupViTConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = (PatchTokens(config.width, config.size, config.patch) if config.tokens == "pixels"
                       else RegionTokens(config.region_width, config.width, dropout=config.dropout))
        rates = torch.linspace(0, config.drop_path, max(1, sum(config.depths))).tolist()
        ends = [sum(config.depths[:n]) for n in range(len(config.depths) + 1)]
        self.stages = nn.ModuleList(Stage(config, n, rates[a:b]) for n, (a, b) in enumerate(pairwise(ends)))
        self.norm = nn.LayerNorm(config.width)
        self.stages.apply(initialise)
        self.text = (TextTransformer(config.text_width, config.text_depth, config.text_heads)
                     if config.text == "transformer" else None)
        self.image_projector = Projector(config.width, config.hidden, config.embedding, norm=config.norm)
        self.text_projector = Projector(config.text_width, config.hidden, config.embedding, norm=config.norm)
        start = math.log(1.0 / config.temperature)
        self.caption_scale, self.concept_scale = (nn.Parameter(torch.tensor(start)) for _ in range(2))
        self.contrast = BagContrast(0.0, config.multi_label, config.mask_negatives, config.text == "frozen")

    def standardise(self, regions: Tensor) -> None:
        """Statistics of the region features [n, F], where there are any."""
        if isinstance(self.tokens, RegionTokens):
            self.tokens.standardise(regions)

    def encode(self, image: Tensor | None, regions: Tensor | None = None, mask: Tensor | None = None) -> Encoded:
        """Group an image [B, 3, H, W], or regions [B, S, F] with mask [B, S]."""
        grid, seen = None, None
        if isinstance(self.tokens, PatchTokens):
            x, grid = self.tokens(image)
        else:
            x, seen = self.tokens(regions), mask
        members, before, maps = x, None, []
        for stage in self.stages:
            x, before = stage(x, before, seen)
            if isinstance(x, Grouped):
                members = members if maps else self.norm(x.members)
                maps.append(x.soft)
                x, seen = x.groups, None
        return Encoded(members, self.norm(x), maps, grid)

    def forward(self, batch: Batch) -> GroupOutputs:
        """Embed an image's groups (or their mean), its caption and the concepts drawn."""
        encoded = self.encode(batch.image, batch.regions, batch.region_mask)
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
        """Mask logits [B, C, height, width], see captionseg.modeling.zero_shot; of one window, without background."""
        encoded = self.encode(inputs.image, inputs.regions, inputs.region_mask)
        classes, whole = self.embed_classes(class_embeddings), self.embed(encoded.groups.mean(1))
        assignment = compose(encoded.maps)
        scores = self.scores(self.embed(encoded.groups), whole, classes)
        if encoded.grid is not None:
            return paint(scores, assignment.unflatten(2, encoded.grid), inputs.size, maps=self.config.maps)
        return paint_scores(self.region_scores(encoded, scores, assignment, whole, classes), inputs)

    def scores(self, vectors: Tensor, whole: Tensor, classes: Tensor) -> Tensor:
        """[B, G, C] of `class_scores` with this model's fields."""
        scale = self.caption_scale.exp().clamp(max=100.0)
        return class_scores(vectors, whole, classes, scale, top_k=self.config.top_k, score=self.config.score)

    def region_scores(self, encoded: Encoded, scores: Tensor, assignment: Tensor, whole: Tensor,
                      classes: Tensor) -> Tensor:  # fmt: skip
        """[B, S, C] of regions: those of the group that a region belongs to, its own, or both."""
        mine = assignment.argmax(1)[..., None].expand(-1, -1, scores.shape[2])  # [B, S, C]
        found = scores.gather(1, mine)
        if self.config.readout == "groups":
            return found
        own = self.scores(self.embed(encoded.members), whole, classes)
        return own if self.config.readout == "regions" else own + found

    def label(self, inputs: Inputs, class_embeddings: Tensor) -> Tensor:
        """See Segmenter."""
        return self.segment(inputs, class_embeddings).argmax(1)


def initialise(module: nn.Module) -> None:
    """Weights of linear layers from a truncated normal with deviation .02, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
