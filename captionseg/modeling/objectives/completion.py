"""Masked entity completion of OVSegmentor (Eq. 8-9), and masked language modelling (Table 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.model_inputs import Batch, MaskedCaptions
from captionseg.modeling.layers.transformer import Block, CrossBlock, Projector
from captionseg.modeling.objectives.bags import count_per_rank
from captionseg.modeling.objectives.pair_losses import Texts, image_contrast, relate_texts
from captionseg.modeling.segmenter import Gather, Masking
from captionseg.modeling.towers.dual_encoder import Towers, TowersConfig
from captionseg.modeling.towers.texts import BertText
from captionseg.records import UserError
from captionseg.runtime.device import full_precision

Objective = Literal[
    "all_entities", "single_entity", "all_nouns", "multi_label", "mlm_groups", "mlm", "none"
]

MASKED: dict[Objective, Masking] = {
    "all_entities": "all",
    "single_entity": "one",
    "all_nouns": "nouns",
    "mlm_groups": "all",
    "mlm": "all",
}
"""Objective -> which words of captions are masked."""

PARTLY: tuple[Objective, ...] = ("single_entity", "all_nouns")
"""Objectives that leave drawn concepts of a caption visible, so that these are not asked for."""

NO_MASKED = "ovsegmentor: batches hold no masked captions; this is a mistake of the loader"


class WordLogits(NamedTuple):
    """Predictions for masked words.

    Attributes:
        logits: [B, T, C] logits of all concepts; T is 1 if a caption is one vector.
        target: [B, K] int64 concepts behind the masks, -1 pads; K = T unless T is 1.
    """

    logits: Tensor
    target: Tensor


@dataclass(frozen=True)
class Completed:
    """Completed captions, and the prompted entities that they are compared with.

    Attributes:
        questions: completed captions, L2-normalised.
        answers: embeddings of what is asked for, L2-normalised.
        asked: the concepts that are asked for, -1 pads. A caption without any takes no part.
        archive: as in Batch.
    """

    questions: Float[Tensor, "B W"]
    answers: Float[Tensor, "B W"]
    asked: Int[Tensor, "B L"]
    archive: Int[Tensor, "B M"]


class Decoder(nn.Module):
    """A decoder block: words attend to groups, then to each other; the first is read out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_words, self.norm_groups, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.cross, self.block = CrossBlock(width, heads), Block(width, heads)

    def forward(self, words: Tensor, groups: Tensor, mask: Tensor) -> Tensor:
        """Return [B, T, D] of words [B, T, D], whose `mask` [B, T] is False for padding, and groups
        [B, G, D].
        """
        answers = self.cross(self.norm_words(words), self.norm_groups(groups))
        return self.norm(self.block(answers, mask) + answers)


class Completion(nn.Module):
    """Completes masked captions from the groups of their pictures.

    Args:
        config: config of the towers.
        objective: an objective that masks captions.
        entities: C, number of concepts, for objectives that predict concepts.

    Attributes:
        concepts: [C, D] frozen embeddings of all concepts, each in a prompt; empty if texts are
            tokens. They are not saved.
    """

    concepts: Tensor

    def __init__(self, config: TowersConfig, objective: Objective, entities: int) -> None:
        super().__init__()
        width, has_text_encoder = config.encoder.width, config.text.kind != "frozen"
        self.objective = objective
        self.register_buffer("concepts", torch.zeros(0, config.text.width), persistent=False)
        self.query = nn.Linear(config.text.width, width)
        self.decoder = None
        if objective != "mlm":
            self.decoder = (
                Decoder(width, config.encoder.heads)
                if has_text_encoder
                else CrossBlock(width, config.encoder.heads)
            )
        if objective.startswith("mlm"):
            self.classify = nn.Linear(width, entities)
        else:
            self.bridge = Projector(width, config.hidden, config.embedding, norm=config.norm)

    @property
    def needs_words(self) -> bool:
        """Whether answers are made of the embeddings of single concepts, not of a sentence."""
        return self.objective in PARTLY

    def forward(
        self, batch: Batch, groups: Tensor, towers: Towers, texts: Tensor
    ) -> Completed | WordLogits:
        """Complete the masked captions of a batch.

        Args:
            batch: B pictures with masked captions.
            groups: [B, G, D] groups of the pictures.
            towers: towers whose text encoder reads the captions.
            texts: [B, L, W] drawn concepts; the mean of those that are asked for is the answer if
                no sentence names them. Then all L have to be there.

        Returns:
            completed captions with their answers; or, for mlm objectives, the logits of masked
            words.

        Raises:
            UserError: if the batch has no masked captions.
        """
        if batch.masked is None:
            raise UserError(NO_MASKED)
        masked = batch.masked
        words, mask = self.words(masked, towers)
        if isinstance(self.decoder, Decoder):
            words = self.decoder(words, groups, mask)
        elif self.decoder is not None:
            words = self.decoder(words, groups)
        if self.objective.startswith("mlm"):
            return WordLogits(self.classify(words), masked.target)
        question = F.normalize(self.bridge(words[:, 0]).float(), dim=-1)
        asked = batch.text_concept
        if self.needs_words and len(self.concepts):
            asked = keep_different(masked.target)
            texts = towers.embed_texts(self.concepts[asked.clamp(min=0)])
        elif self.needs_words:
            asked = keep_masked(asked, masked.target)
        if masked.answers is not None and towers.text is not None and not self.needs_words:
            answer = towers.embed_texts(towers.text(masked.answers))
            asked = batch.text_concept if masked.asked is None else masked.asked
        else:
            answer = F.normalize((texts * (asked >= 0)[..., None]).sum(1), dim=-1)
        return Completed(question, answer, asked, batch.archive)

    def words(self, masked: MaskedCaptions, towers: Towers) -> tuple[Tensor, Tensor]:
        """Return the masked captions [B, T, D], and a mask [B, T] that is False for padding.

        Raises:
            UserError: if the batch has no masked captions of the kind that the model reads.
        """
        if towers.text is None:
            if masked.embedding is None:
                raise UserError(NO_MASKED)
            words = self.query(masked.embedding)[:, None]
            return words, torch.ones_like(words[..., 0], dtype=torch.bool)
        if masked.tokens is None or not isinstance(towers.text, BertText):
            raise UserError(NO_MASKED)
        return self.query(towers.text.states(masked.tokens)), masked.tokens != 0


def keep_different(masked: Int[Tensor, "B K"]) -> Int[Tensor, "B K"]:
    """Return the concepts behind the masks of each caption, each once; -1 for all others."""
    repeated = (masked[..., None] == masked[:, None]).tril(-1).any(2)
    return masked.masked_fill(repeated, -1)


def keep_masked(drawn: Int[Tensor, "B L"], masked: Int[Tensor, "B K"]) -> Int[Tensor, "B L"]:
    """Return the drawn concepts that are behind a mask of their caption; -1 for all others.

    Args:
        drawn: drawn concepts, -1 pads.
        masked: concepts behind the masks, -1 pads.
    """
    return drawn.where((drawn[..., None] == masked[:, None]).any(2), -1)


def completion_loss(
    completed: Completed,
    scale: Float[Tensor, ""],
    gather: Gather,
    *,
    rank: int,
    mask_negatives: bool,
) -> Float[Tensor, ""]:
    """Compute Eq. 9, L_entity: InfoNCE in both directions between questions and answers.

    Captions of which nothing is asked take no part, not even as negatives.

    Args:
        completed: the captions of this rank.
        scale: 1 / tau.
        gather: see Gather.
        rank: number of this rank.
        mask_negatives: whether an answer whose concepts are all in the archive of a picture is no
            negative of it.
    """
    own = Texts(
        completed.answers[:, None], completed.asked[:, None], (completed.asked >= 0).any(1)[:, None]
    )
    texts = Texts(*(gather(value) for value in own))
    related = relate_texts(texts, completed.archive, rank, mask_negatives=mask_negatives)
    related = related._replace(negative=related.negative & own.valid)
    with full_precision(completed.questions):
        cosine = completed.questions.float() @ texts.vectors[:, 0].float().T
    return image_contrast(cosine, related, scale, gather)


def masked_word_loss(words: WordLogits, gather: Gather) -> Tensor:
    """Return the cross-entropy of masked words; its mean over ranks is that of all masked words."""
    logits, target = words.logits.float().log_softmax(2), words.target
    valid = target >= 0
    # one vector predicts all masked words of its caption
    logits = logits.expand(-1, target.shape[1], -1) if logits.shape[1] == 1 else logits
    each = -logits.gather(2, target.clamp(min=0)[..., None])[..., 0]
    return (each * valid).sum() / count_per_rank(valid.sum(1), gather)
