"""Both sides of a model with groups, and the maps of each into the joint space."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.model_inputs import Batch
from captionseg.modeling.layers.transformer import Norm, Projector
from captionseg.modeling.objectives.bags import Bags
from captionseg.modeling.segmenter import InputSpec, Masking
from captionseg.modeling.towers.group_encoder import EncoderConfig, GroupEncoder
from captionseg.modeling.towers.texts import (
    BertText,
    TextConfig,
    folder_of,
    pad_and_join,
    text_encoder,
    with_sizes,
)
from captionseg.modeling.weights import pretrained
from captionseg.typed import Count

Pool = Literal["mean", "max"]


@dataclass(frozen=True)
class TowersConfig:
    """What defines Towers.

    Attributes:
        encoder: of images.
        text: of texts.
        hidden, embedding: of the projectors into the joint space.
        norm: inside the projectors; with batch statistics an image knows its batch.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    text: TextConfig = field(default_factory=TextConfig)
    hidden: Count = 256
    embedding: Count = 256
    norm: Norm = "layer"

    def with_sizes(self, *, regions: int, texts: int) -> TowersConfig:
        """With widths that are 0 taken from the data, and those of a checkpoint of texts from
        it."""
        encoder = (
            self.encoder
            if self.encoder.region_width
            else replace(self.encoder, region_width=regions)
        )
        frozen = self.text.kind == "frozen" and not self.text.width
        return replace(
            self,
            encoder=encoder,
            text=replace(self.text, width=texts) if frozen else with_sizes(self.text),
        )

    def reads(self, masking: Masking | None = None) -> InputSpec:
        """See Segmenter."""
        own = self.text.kind
        folder = folder_of(self.text)
        return InputSpec(
            self.encoder.size if self.encoder.tokens == "pixels" else 0,
            tokens=None if own == "frozen" else own,
            tokenizer=str(folder or ""),
            context=self.text.context,
            masking=masking,
        )


class Towers(nn.Module):
    """Images -> groups, texts -> vectors, both -> the joint space."""

    def __init__(self, config: TowersConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = GroupEncoder(config.encoder)
        self.text = text_encoder(config.text)
        self.image_projector = Projector(
            config.encoder.width, config.hidden, config.embedding, norm=config.norm
        )
        self.text_projector = Projector(
            config.text.width, config.hidden, config.embedding, norm=config.norm
        )

    def start(self, regions: Float[Tensor, "sample feature"]) -> None:
        """Before training: statistics of the region features, and the weights that the
        config names.
        """
        self.vision.standardise(regions)
        pretrained.start_from(self.vision)
        folder = folder_of(self.config.text)
        if folder and isinstance(self.text, BertText):
            self.text.start_from(folder)

    def embed(self, x: Float[Tensor, "*some width"]) -> Float[Tensor, "*some embedding"]:
        """Image side, L2-normalised."""
        return F.normalize(self.image_projector(x).float(), dim=-1)

    def embed_texts(self, texts: Float[Tensor, "*some width"]) -> Float[Tensor, "*some embedding"]:
        """Text side, of what comes from the encoder or from outside; L2-normalised."""
        return F.normalize(self.text_projector(texts).float(), dim=-1)

    def embed_batch(
        self, batch: Batch, texts: int | None = None
    ) -> tuple[Float[Tensor, "batch embedding"], Float[Tensor, "batch drawn embedding"]]:
        """Captions and drawn concepts, through the projector together: its norm
        sees both.

        Args:
            batch: with embeddings or tokens, as the config asks for.
            texts: so many of the L; None takes all.
        """
        if self.text is None or batch.tokens is None:
            given = torch.cat(
                [batch.caption_embedding[:, None], batch.text_embedding[:, :texts]], 1
            )
        else:
            drawn = batch.tokens.concepts[:, :texts]
            size = len(drawn)
            encoded = self.text(pad_and_join([batch.tokens.captions, drawn.flatten(0, 1)]))
            given = torch.cat(
                [encoded[:size, None], encoded[size:].unflatten(0, drawn.shape[:2])], 1
            )
        out = self.embed_texts(given)
        return out[:, 0], out[:, 1:]

    def encode_text(self, tokens: Int64[Tensor, "text token"]) -> Float[Tensor, "text embedding"]:
        """Vectors of token numbers, projected and not normalised: prompts of a class are
        averaged so.
        """
        if self.text is None:
            raise ValueError("this model has no text encoder of its own (text: frozen)")
        return self.text_projector(self.text(tokens))

    def embed_classes(
        self, classes: Float[Tensor, "class width"]
    ) -> Float[Tensor, "class embedding"]:
        """L2-normalised, of frozen embeddings, or of what `encode_text` gave for the
        model's own.
        """
        return (
            self.embed_texts(classes) if self.text is None else F.normalize(classes.float(), dim=-1)
        )


def pool_groups(
    groups: Float[Tensor, "batch group width"], pool: Pool
) -> Float[Tensor, "batch _pooled width"]:
    """The bag of an image: the mean of its groups, or all of them, of
    which a text is compared with the best.
    """
    return groups if pool == "max" else groups.mean(1, keepdim=True)


def bag_of(
    vectors: Float[Tensor, "batch item embedding"],
    captions: Float[Tensor, "batch embedding"],
    texts: Float[Tensor, "batch drawn embedding"],
    batch: Batch,
    mask: Bool[Tensor, "batch item"] | None = None,
) -> Bags:
    """The bags of a batch, of whose vectors `mask` are there, all without one."""
    valid = torch.ones_like(vectors[..., 0], dtype=torch.bool) if mask is None else mask
    return Bags(
        vectors,
        valid,
        captions,
        texts,
        batch.caption_concepts,
        batch.text_concept[:, : texts.shape[1]],
        batch.archive,
    )
