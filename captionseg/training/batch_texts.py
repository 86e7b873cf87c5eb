"""The texts of batches as tokens, for models that read tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from captionseg.inference.class_embeddings import build_tokenizer
from captionseg.model_inputs import MaskedCaptions, Tokens
from captionseg.modeling.objectives.completion import keep_different
from captionseg.modeling.segmenter import InputSpec
from captionseg.remarks import group_warnings, may_be_cut
from captionseg.text.prompts import read_templates
from captionseg.text.vocabulary import Vocabulary
from captionseg.training.training_set import TrainingSet

TEXTS = 1024  # that are tokenised at once to see which are cut


class BatchTexts:
    """Tokenises the texts of batches.

    Args:
        data: a training set with sentences.
        reads: what the model reads, with tokens.
        prompts: template set for concepts; one template is drawn for each.
    """

    def __init__(self, data: TrainingSet, reads: InputSpec, prompts: str) -> None:
        assert data.sentences is not None
        self.masked_target = data.masked_target
        self.pieces: dict[str, list[int]] = {}  # tokens of words, cached
        self.sentences, self.concepts, self.templates = (
            data.sentences,
            data.concepts,
            read_templates(prompts),
        )
        self.tower = (
            data.space.encoder.text_tower if reads.tokens == "frozen" and data.space else None
        )
        self.tokens = build_tokenizer(reads, tower=self.tower)
        self.warn_of_long_texts(reads.context)

    def warn_of_long_texts(self, context: int) -> None:
        """Warn once, before the first batch, about texts that are cut."""
        texts = itertools.chain(self.sentences.captions, self.sentences.masked or (), self.concepts)
        long = (text for text in texts if may_be_cut(text, context))
        with group_warnings():
            while part := list(itertools.islice(long, TEXTS)):
                self.tokens(part)

    def __call__(
        self,
        rows: np.ndarray,
        drawn: np.ndarray,
        rng: np.random.Generator,
        selected: slice = slice(None),
    ) -> tuple[Tokens, MaskedCaptions | None]:
        """Return the texts of a batch, and its masked captions if the model reads them.

        Args:
            rows: [B] rows of the training set.
            drawn: [B, L] drawn concepts, -1 pads.
            rng: generator that draws templates.
            selected: the part of the batch to return; templates are drawn for the whole batch.
        """
        sentences = self.sentences
        chosen = rng.integers(len(self.templates), size=(len(rows), drawn.shape[1] + 1))[selected]
        rows, drawn = rows[selected], drawn[selected]
        prompts = [
            self.templates[chosen[i, j]].format(self.concepts[concept]) if concept >= 0 else ""
            for i, row in enumerate(drawn)
            for j, concept in enumerate(row)
        ]
        captions = pick(sentences.captions, rows)
        encoded, names, belonging = self.tokens(captions), None, None
        if self.tower is not None:
            texts = [self.concepts[concept] if concept >= 0 else "" for concept in drawn.flat]
            names = torch.from_numpy(self.tokens(texts).reshape(*drawn.shape, -1))
        if sentences.vocabulary is not None:
            belonging = torch.from_numpy(
                self.match_concepts(captions, encoded, sentences.vocabulary)
            )
        tokens = Tokens(
            torch.from_numpy(encoded),
            torch.from_numpy(self.tokens(prompts).reshape(*drawn.shape, -1)),
            names,
            belonging,
        )
        return tokens, self.mask_captions(rows, chosen[:, -1])

    def mask_captions(self, rows: np.ndarray, chosen: np.ndarray) -> MaskedCaptions | None:
        """Return the masked captions of a batch; None if the model does not read them.

        Args:
            rows: [B] rows of the training set.
            chosen: [B] numbers of the templates of answers.
        """
        masked = self.sentences.masked
        if masked is None or self.masked_target is None:
            return None
        behind = torch.from_numpy(self.masked_target[rows].astype(np.int64))
        asked = keep_different(behind)
        answers = [self.answer(row, self.templates[chosen[i]]) for i, row in enumerate(asked)]
        tokens = torch.from_numpy(self.tokens(pick(masked, rows)))
        return MaskedCaptions(
            self.targets(tokens, behind.numpy()),
            tokens=tokens,
            answers=torch.from_numpy(self.tokens(answers)),
            asked=asked,
        )

    def match_concepts(
        self, captions: Sequence[str], tokens: np.ndarray, vocabulary: Vocabulary
    ) -> np.ndarray:
        """Return the concept that each token of B captions belongs to, [B, T]; -1 for none.

        The tokens of each word are searched in the tokens of its caption, from left to right.

        Args:
            captions: B captions.
            tokens: [B, T] their tokens.
            vocabulary: the concepts.
        """
        out = np.full(tokens.shape, -1, np.int64)
        for row, caption in enumerate(captions):
            start, tokens_of_caption = 1, tokens[row].tolist()
            for word, concept in vocabulary.words(caption):
                if word not in self.pieces:
                    self.pieces[word] = self.tokens([word])[0, 1:-1].tolist()
                piece = self.pieces[word]
                places = (
                    p
                    for p in range(start, len(tokens_of_caption))
                    if tokens_of_caption[p : p + len(piece)] == piece
                )
                if (place := next(places, None)) is not None:
                    start = place + len(piece)
                    out[row, place:start] = concept
        return out

    def answer(self, asked: Tensor, template: str) -> str:
        """Return OVSegmentor's prompted entities: the beginning of a template, and all entities.

        Args:
            asked: [K] masked concepts, -1 pads.
            template: a template with {}.
        """
        names = " and ".join(self.concepts[concept] for concept in asked.tolist() if concept >= 0)
        return template[: template.index("{}")] + names

    def targets(self, masked: Tensor, concepts: np.ndarray) -> Tensor:
        """Return the concept behind each masked token, [B, T]; -1 elsewhere.

        Args:
            masked: [B, T] tokens of masked captions.
            concepts: [B, K] concepts behind the masks, in order.
        """
        is_mask = masked == self.tokens.mask
        order = (is_mask.cumsum(1) - 1).clamp(min=0)
        padded = np.pad(
            concepts,
            ((0, 0), (0, max(0, int(order.max()) + 1 - concepts.shape[1]))),
            constant_values=-1,
        )
        return torch.where(is_mask, torch.from_numpy(padded).gather(1, order), -1)


def pick(texts: Sequence[str], rows: np.ndarray) -> list[str]:
    """Return the texts at rows [n]."""
    numbers: list[int] = rows.tolist()
    return [texts[number] for number in numbers]
