"""CoDe (Wu et al. 2024): image and text are decomposed together, and regions are compared with word
segments.

TCL's grounder segments the picture for each of J nouns, a text segmenter the caption; what both
find is highlighted and embedded by the frozen encoder. Where a noun has no word in the caption, as
curated concepts may have none, the sentence that is segmented is its prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.encoder import Encoder
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.layers.grounder import GrounderConfig
from captionseg.modeling.objectives.pairs import first_of_each, pair_contrast
from captionseg.modeling.segmenter import Gather, InputSpec, Sizes, Start, gather_single
from captionseg.modeling.tcl import Tcl, TclOutputs, inverse
from captionseg.modeling.tcl_config import GroundingChoices, TclConfig
from captionseg.modeling.towers.frozen_towers import FrozenModule
from captionseg.modeling.towers.texts import pad_and_join
from captionseg.modeling.towers.word_segments import (
    WordConfig,
    WordSegments,
    own_masks,
    word_loss,
    word_targets,
)
from captionseg.typed import AboveZero, Count, ZeroOrMore


def _segmenter() -> TclConfig:
    """TCL as CoDe has it: nouns in place of captions, other priors, normalised features, a region
    prompt.
    """
    return TclConfig(
        texts="concepts",
        positive_area=0.25,
        positive_weight=0.5,
        negative_weight=0.05,
        normalised=True,
        prompt=True,
        multi_label="soft_target",
    )


@dataclass(frozen=True)
class CodeConfig:
    """What defines a CoDe. The switches of Table 4.2 are decompose (C), words.prompt (W) and
    tcl.prompt (R).

    Attributes:
        tcl: the image segmenter and L_seg^v.
        words: the text segmenter, and the prompts of nouns.
        nouns: J, of the texts drawn for an image.
        decompose: whether the text is decomposed at all; without, TCL with prompted nouns is left.
        knowledge_weight, region_weight, word_weight, highlight_weight: lambda of Eq. 3.8: kg,
            seg^v, seg^t, hcl.
        temperature: of Eq. 3.7 at the start, learnt, its inverse clamped at 100.
        zero_shot: the choices of inference, in place of tcl's.
    """

    tcl: TclConfig = field(default_factory=_segmenter)
    words: WordConfig = field(default_factory=WordConfig)
    nouns: Count = 2
    decompose: bool = True
    knowledge_weight: ZeroOrMore = 8.0
    region_weight: ZeroOrMore = 1.0
    word_weight: ZeroOrMore = 1.0
    highlight_weight: ZeroOrMore = 0.5
    temperature: AboveZero = 0.07
    zero_shot: GroundingChoices = field(default_factory=GroundingChoices)

    def __post_init__(self) -> None:
        if self.nouns < 1:
            raise ValueError("code: nouns must be at least 1")
        if self.tcl.texts != "concepts" or self.tcl.text_adapter:
            raise ValueError(
                "code: tcl takes texts: concepts and text_adapter: false, for nouns have a prompt"
            )

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return replace(
            self.tcl.reads,
            tokens="frozen",
            context=self.words.positions,
            words=self.decompose and self.words.labels == "string",
        )

    def with_sizes(self, sizes: Sizes) -> CodeConfig:
        """With widths that are 0 taken from the data."""
        words = replace(
            self.words, width=self.words.width or sizes.words, out=self.words.out or sizes.texts
        )
        return replace(self, tcl=self.tcl.with_sizes(sizes), words=words)


def code_released() -> CodeConfig:
    """The released configuration, on pictures of 224 pixels through the frozen encoder."""
    grounder = GrounderConfig(
        blocks=2, factor=2, convs=1, conv="full", adapter=0, dropout=0.0, gate=0.0
    )
    segmenter = replace(_segmenter(), grounder=grounder, picture=224, mask_negatives=False)
    return CodeConfig(
        segmenter,
        WordConfig(context=16, labels="string"),
        zero_shot=GroundingChoices(knowledge=0.3),
    )


class CodeOutputs(NamedTuple):
    """What the losses need: TCL's, whose texts are the nouns; squared distances [B, J] of Eq. 3.1;
    and of the text side, where it is decomposed, embeddings [B, J, D] of the highlighted texts with
    loss and weight [B, J] of words."""

    regions: TclOutputs
    knowledge: Tensor
    highlighted: Tensor | None
    word_loss: Tensor | None
    word_weight: Tensor | None


class Code(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: CodeConfig) -> None:
        super().__init__()
        self.config = config
        self.tcl, self.words = Tcl(config.tcl), WordSegments(config.words)
        self.highlight_scale = nn.Parameter(torch.tensor(math.log(1.0 / config.temperature)))
        self.tower: FrozenModule[Any] | None = None

    def start(self, given: Start) -> None:
        """Take the frozen encoder: its head, its towers, the words of its prompt."""
        self.tcl.start(given)
        if given.space is not None:
            self.attach(given.space.encoder)
            self.words.start(self.frozen(self.words.context))

    def attach(self, encoder: Encoder) -> None:
        """See HoldsEncoder."""
        self.tower = self.tower or FrozenModule(encoder.text_tower)  # type: ignore[type-var]
        if self.config.tcl.picture:
            self.tcl.attach(encoder)

    def frozen(self, tensor: Tensor) -> Any:
        """The frozen text tower on the device of a tensor."""
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
        """[T, D] of the tokens of names alone, without any prompt; see EncodesTokens."""
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
        first, number = first_of_each(concepts.flatten())
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
        """Embeddings [B, J, D] of the highlighted texts, summed losses and weights [B, J] of their
        words.
        """
        assert batch.tokens is not None
        valid = concepts >= 0
        named = (batch.caption_concepts[:, None] == concepts[..., None]).any(2) & valid
        captions = batch.tokens.captions
        both = pad_and_join([captions, prompts.flatten(0, 1)])
        captions, prompts = both[: len(captions)], both[len(captions) :].unflatten(0, valid.shape)
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
        highlighted = self.words.highlight(sentences, own_masks(probabilities), tower)
        return highlighted, loss * valid, weight * valid

    def targets(
        self, probabilities: Tensor, batch: Batch, named: Tensor, concepts: Tensor
    ) -> Tensor:
        """[B, J, T] what each word is taken to belong to: its likeliest now, or by string matching
        in captions.
        """
        if self.config.words.labels == "own":
            return probabilities.detach().argmax(2)
        assert batch.tokens is not None
        assert batch.tokens.caption_words is not None
        belonging = batch.tokens.caption_words
        words = F.pad(belonging, (0, max(0, probabilities.shape[3] - belonging.shape[1])), value=-1)
        words = words[:, : probabilities.shape[3]]
        return word_targets(torch.where(named[..., None], words[:, None], -1), concepts)

    def losses(
        self, outputs: CodeOutputs, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Eq. 3.8: `region_*` are L_seg^v, then knowledge (Eq. 3.1), word and highlight (Eq. 3.7),
        with weights.
        """
        config, valid = self.config, outputs.regions.texts.valid
        text_masks = self.tcl.match_texts(outputs.regions, gather, rank=rank)
        terms = self.tcl.terms(outputs.regions, text_masks, gather, rank=rank)
        losses = {f"region_{name}": config.region_weight * term for name, term in terms.items()}
        losses["knowledge"] = config.knowledge_weight * mean_of_all(
            outputs.knowledge * valid, valid, gather
        )
        if outputs.highlighted is None or outputs.word_loss is None or outputs.word_weight is None:
            return losses
        losses["word"] = config.word_weight * mean_of_all(
            outputs.word_loss, outputs.word_weight, gather
        )
        losses["highlight"] = config.highlight_weight * pair_contrast(
            text_masks.regions,
            outputs.highlighted,
            text_masks.related,
            inverse(self.highlight_scale),
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
    """Without the last columns [.., n] that hold nothing but padding."""
    return tokens[..., : int((tokens != 0).flatten(0, -2).any(0).nonzero().max()) + 1]


def mean_of_all(total: Tensor, weight: Tensor, gather: Gather) -> Tensor:
    """Sum over all ranks of [B, J] by the sum of the weights; the same on every rank."""
    return gather(total.sum(1)).sum() / gather(weight.sum(1)).sum().clamp(min=1e-6)
