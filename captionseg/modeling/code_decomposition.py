"""CoDe (Wu et al. 2024): regions of a picture are compared with segments of its caption.

For each of J nouns, TCL's grounder segments the picture, and a text segmenter the caption. The
segments of both are highlighted and embedded by the frozen encoder. If a noun is not in the
caption, as for some curated concepts, its prompt is segmented instead.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.encoder import Encoder
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.code_config import CodeConfig
from captionseg.modeling.objectives.pair_losses import (
    find_unique,
    inverse_temperature,
    pair_contrast,
)
from captionseg.modeling.segmenter import Gather, Start, gather_single
from captionseg.modeling.tcl import Tcl, TclOutputs
from captionseg.modeling.tcl_config import GroundingChoices
from captionseg.modeling.towers.frozen_towers import FrozenModule
from captionseg.modeling.towers.texts import pad_and_join
from captionseg.modeling.towers.word_segments import (
    WordSegments,
    match_word_targets,
    select_own_masks,
    word_loss,
)


class CodeOutputs(NamedTuple):
    """What the losses need; fields of the text side are None if texts are not decomposed.

    Attributes:
        regions: outputs of TCL, whose texts are the nouns.
        knowledge: [B, J] squared distances of Eq. 3.1.
        highlighted: [B, J, D] embeddings of the highlighted texts.
        word_loss: [B, J] summed losses of words.
        word_weight: [B, J] summed weights of words.
    """

    regions: TclOutputs
    knowledge: Tensor
    highlighted: Tensor | None
    word_loss: Tensor | None
    word_weight: Tensor | None


class Code(nn.Module):
    """The CoDe model; see the module's docstring."""

    def __init__(self, config: CodeConfig) -> None:
        super().__init__()
        self.config = config
        self.tcl, self.words = Tcl(config.tcl), WordSegments(config.words)
        self.highlight_scale = nn.Parameter(torch.tensor(math.log(1.0 / config.temperature)))
        self.tower: FrozenModule[Any] | None = None

    def start(self, data: Start) -> None:
        """Initialise from the frozen encoder: its head, its towers, the words of its prompt."""
        self.tcl.start(data)
        if data.space is not None:
            self.attach(data.space.encoder)
            self.words.start(self.frozen(self.words.context))

    def attach(self, encoder: Encoder) -> None:
        """See HoldsEncoder."""
        self.tower = self.tower or FrozenModule(encoder.text_tower)  # type: ignore[type-var]
        if self.config.tcl.picture:
            self.tcl.attach(encoder)

    def frozen(self, tensor: Tensor) -> Any:
        """Return the frozen text tower, on the device of a tensor of any shape."""
        assert self.tower is not None, "attach the encoder first"
        return self.tower.on(tensor)

    @property
    def late_from(self) -> float:
        """See HasLateParameters."""
        return self.tcl.late_from

    def late_parameters(self) -> list[nn.Parameter]:
        """See HasLateParameters."""
        return self.tcl.late_parameters()

    def encode_text(self, tokens: Tensor) -> Tensor:
        """See EncodesTokens; tokens are those of names alone, without a prompt."""
        return self.words.nouns(tokens, self.frozen(tokens))

    def embed_texts(self, texts: Tensor) -> Tensor:
        """See Tcl."""
        return self.tcl.embed_texts(texts)

    def forward(self, batch: Batch) -> CodeOutputs:
        """Ground J nouns of each picture, and segment its caption for them."""
        assert batch.tokens is not None
        assert batch.tokens.names is not None
        concepts = batch.text_concept[:, : self.config.nouns]
        names, prompts = (
            batch.tokens.names[:, : concepts.shape[1]],
            batch.tokens.concepts[:, : concepts.shape[1]],
        )
        valid, tower = concepts >= 0, self.frozen(concepts)
        first, number = find_unique(concepts.flatten())
        nouns = self.words.nouns(names.flatten(0, 1)[first], tower)
        with torch.no_grad():
            frozen_nouns = F.normalize(tower(prompts.flatten(0, 1)[first]).float(), dim=-1)
        distance = (nouns - frozen_nouns).square().sum(1)[number].view(valid.shape)
        vectors = nouns[number].unflatten(0, valid.shape)
        regions = self.tcl.ground(batch, vectors, concepts[..., None], valid)
        if not self.config.decompose:
            return CodeOutputs(regions, distance, None, None, None)
        return CodeOutputs(
            regions, distance, *self.decompose(batch, prompts, vectors, concepts, tower)
        )

    def decompose(
        self, batch: Batch, prompts: Tensor, nouns: Tensor, concepts: Tensor, tower: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Segment the texts of nouns.

        Args:
            batch: B pictures with captions.
            prompts: [B, J, T] tokens of prompted nouns, for nouns that are not in the caption.
            nouns: [B, J, D] L2-normalised embeddings of nouns.
            concepts: [B, J] concepts of nouns, -1 pads.
            tower: the frozen text tower.

        Returns:
            embeddings [B, J, D] of the highlighted texts, and the summed losses and weights [B, J]
            of their words.
        """
        assert batch.tokens is not None
        valid = concepts >= 0
        named = (batch.caption_concepts[:, None] == concepts[..., None]).any(2) & valid
        captions = batch.tokens.captions
        joined = pad_and_join([captions, prompts.flatten(0, 1)])
        captions, prompts = (
            joined[: len(captions)],
            joined[len(captions) :].unflatten(0, valid.shape),
        )
        sentences = trim_padding(torch.where(named[..., None], captions[:, None], prompts))
        probabilities = self.words.probabilities(
            self.words.features(sentences, tower), nouns, valid
        )
        target = self.targets(probabilities, batch, named, concepts).masked_fill(
            tower.special(sentences), -1
        )
        loss, weight = word_loss(
            probabilities,
            target,
            1.0 if self.config.words.labels == "own" else self.config.words.none_weight,
        )
        highlighted = self.words.highlight(sentences, select_own_masks(probabilities), tower)
        return highlighted, loss * valid, weight * valid

    def targets(
        self, probabilities: Tensor, batch: Batch, named: Tensor, concepts: Tensor
    ) -> Tensor:
        """Return the target of each word, [B, J, T]: 0 for none, 1 + j for the j-th noun, -1 to
        ignore.

        It is the currently likeliest noun (labels: own), or found by string matching in captions.

        Args:
            probabilities: [B, J, J + 1, T], see WordSegments.probabilities.
            batch: B pictures with captions.
            named: [B, J], whether the caption names the noun.
            concepts: [B, J] concepts of nouns, -1 pads.
        """
        if self.config.words.labels == "own":
            return probabilities.detach().argmax(2)
        assert batch.tokens is not None
        assert batch.tokens.caption_words is not None
        words = batch.tokens.caption_words
        words = F.pad(words, (0, max(0, probabilities.shape[3] - words.shape[1])), value=-1)
        words = words[:, : probabilities.shape[3]]
        return match_word_targets(torch.where(named[..., None], words[:, None], -1), concepts)

    def losses(
        self, outputs: CodeOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return the terms of Eq. 3.8, weighted: `region_*` of L_seg^v, `knowledge` (Eq. 3.1),
        `word` (L_seg^t) and `highlight` (Eq. 3.7).
        """
        config, valid = self.config, outputs.regions.texts.valid
        text_masks = self.tcl.match_texts(outputs.regions, gather, rank=rank)
        terms = self.tcl.weighted_losses(outputs.regions, text_masks, gather, rank=rank)
        losses = {f"region_{name}": config.region_weight * term for name, term in terms.items()}
        losses["knowledge"] = config.knowledge_weight * weighted_mean_over_ranks(
            outputs.knowledge * valid, valid, gather
        )
        if outputs.highlighted is None or outputs.word_loss is None or outputs.word_weight is None:
            return losses
        losses["word"] = config.word_weight * weighted_mean_over_ranks(
            outputs.word_loss, outputs.word_weight, gather
        )
        losses["highlight"] = config.highlight_weight * pair_contrast(
            text_masks.regions,
            outputs.highlighted,
            text_masks.related,
            inverse_temperature(self.highlight_scale),
            gather,
            rank=rank,
        )
        return losses

    @property
    def zero_shot(self) -> GroundingChoices:
        """See HasZeroShotChoices."""
        return self.config.zero_shot

    def segment(
        self, inputs: Inputs, class_embeddings: Tensor, choices: GroundingChoices | None = None
    ) -> Tensor:
        """See Tcl; classes are those of `encode_text`."""
        return self.tcl.segment(inputs, class_embeddings, choices or self.zero_shot)

    def label(
        self, inputs: Inputs, class_embeddings: Tensor, choices: GroundingChoices | None = None
    ) -> Tensor:
        """See Tcl."""
        return self.tcl.label(inputs, class_embeddings, choices or self.zero_shot)


def trim_padding(tokens: Tensor) -> Tensor:
    """Remove the last columns of tokens [.., n] that are padding in all rows."""
    return tokens[..., : int((tokens != 0).flatten(0, -2).any(0).nonzero().max()) + 1]


def weighted_mean_over_ranks(total: Tensor, weight: Tensor, gather: Gather) -> Tensor:
    """Return the sum of `total` [B, J] over the sum of `weight` [B, J], both over all ranks.

    The result is a scalar, the same on every rank.
    """
    return gather(total.sum(1)).sum() / gather(weight.sum(1)).sum().clamp(min=1e-6)
