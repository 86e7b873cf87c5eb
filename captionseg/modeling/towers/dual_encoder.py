"""The image and text encoders of models with groups, and their projectors into the joint space."""

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
    build_text_encoder,
    find_weights_folder,
    pad_and_join,
    with_sizes,
)
from captionseg.modeling.weights import pretrained
from captionseg.typed import Count

Pool = Literal["mean", "max"]


@dataclass(frozen=True)
class TowersConfig:
    """Configuration of Towers.

    Attributes:
        encoder: config of the image encoder.
        text: config of the text encoder.
        hidden: hidden width of the projectors.
        embedding: width of the joint space.
        norm: norm of the projectors; with batch, embeddings depend in training on the whole batch,
            that of all ranks.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    text: TextConfig = field(default_factory=TextConfig)
    hidden: Count = 256
    embedding: Count = 256
    norm: Norm = "layer"

    def with_sizes(self, *, regions: int, texts: int) -> TowersConfig:
        """Return a copy in which widths that are 0 are those of the data or of a text checkpoint.

        Args:
            regions: F, number of features of a region.
            texts: D, width of the frozen text embeddings.

        Raises:
            UserError: if the folder of text weights is no BERT.
        """
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
        """See Segmenter; `masking` as in InputSpec."""
        kind = self.text.kind
        folder = find_weights_folder(self.text)
        return InputSpec(
            self.encoder.size if self.encoder.tokens == "pixels" else 0,
            tokens=None if kind == "frozen" else kind,
            tokenizer=str(folder or ""),
            context=self.text.context,
            masking=masking,
        )


class Towers(nn.Module):
    """Encodes images to groups and texts to vectors, and projects both into the joint space."""

    def __init__(self, config: TowersConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = GroupEncoder(config.encoder)
        self.text = build_text_encoder(config.text)
        self.image_projector = Projector(
            config.encoder.width, config.hidden, config.embedding, norm=config.norm
        )
        self.text_projector = Projector(
            config.text.width, config.hidden, config.embedding, norm=config.norm
        )

    def start(self, regions: Float[Tensor, "sample feature"]) -> None:
        """Initialise from a sample of region features, and from the weights that the config names.

        Raises:
            UserError: for weights that are missing or do not fit.
        """
        self.vision.standardise(regions)
        pretrained.start_from(self.vision)
        folder = find_weights_folder(self.config.text)
        if folder and isinstance(self.text, BertText):
            self.text.start_from(folder)

    def embed(
        self, x: Float[Tensor, "*batch width"], *, observe: bool = True
    ) -> Float[Tensor, "*batch embedding"]:
        """Project vectors of the image encoder, L2-normalised; `observe` as in Projector."""
        return F.normalize(self.image_projector(x, observe=observe).float(), dim=-1)

    def embed_texts(
        self, texts: Float[Tensor, "*batch width"]
    ) -> Float[Tensor, "*batch embedding"]:
        """Project text embeddings, own or frozen, L2-normalised."""
        return F.normalize(self.text_projector(texts).float(), dim=-1)

    def embed_batch(
        self, batch: Batch, texts: int | None = None
    ) -> tuple[Float[Tensor, "batch embedding"], Float[Tensor, "batch drawn embedding"]]:
        """Embed captions and drawn concepts; they go through the projector together, because of its
        norm.

        Args:
            batch: the batch, with embeddings or tokens.
            texts: number of concepts per image to embed; None embeds all L.
        """
        if self.text is None or batch.tokens is None:
            vectors = torch.cat(
                [batch.caption_embedding[:, None], batch.text_embedding[:, :texts]], 1
            )
        else:
            drawn = batch.tokens.concepts[:, :texts]
            size = len(drawn)
            encoded = self.text(pad_and_join([batch.tokens.captions, drawn.flatten(0, 1)]))
            vectors = torch.cat(
                [encoded[:size, None], encoded[size:].unflatten(0, drawn.shape[:2])], 1
            )
        embedded = self.embed_texts(vectors)
        return embedded[:, 0], embedded[:, 1:]

    def encode_text(self, tokens: Int64[Tensor, "text token"]) -> Float[Tensor, "text embedding"]:
        """See EncodesTokens; not normalised, because prompts of a class are averaged afterwards.

        Raises:
            ValueError: if the model has no text encoder.
        """
        if self.text is None:
            raise ValueError("this model has no text encoder of its own (text: frozen)")
        return self.text_projector(self.text(tokens))

    def embed_classes(
        self, classes: Float[Tensor, "class width"]
    ) -> Float[Tensor, "class embedding"]:
        """Return L2-normalised class embeddings, from frozen embeddings or those of
        `encode_text`.
        """
        return (
            self.embed_texts(classes) if self.text is None else F.normalize(classes.float(), dim=-1)
        )


def pool_groups(
    groups: Float[Tensor, "batch group width"], pool: Pool
) -> Float[Tensor, "batch _pooled width"]:
    """Return the bag of an image: the mean of its groups, or all groups."""
    return groups if pool == "max" else groups.mean(1, keepdim=True)


def make_bags(
    vectors: Float[Tensor, "batch item embedding"],
    captions: Float[Tensor, "batch embedding"],
    texts: Float[Tensor, "batch drawn embedding"],
    batch: Batch,
    mask: Bool[Tensor, "batch item"] | None = None,
) -> Bags:
    """Combine embeddings to the bags of a batch; `mask` is False for padding, None
    for no padding.
    """
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
