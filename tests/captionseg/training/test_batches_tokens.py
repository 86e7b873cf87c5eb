"""Batches of pixels and tokens: augmented pictures, prompted concepts, masked captions, words of
captions.
"""

from __future__ import annotations

import dataclasses
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from captionseg.encoders.lite0_minilm import load_text_tower
from captionseg.encoders.text_space import TextSpace
from captionseg.model_inputs import Batch
from captionseg.modeling.segmenter import InputSpec
from captionseg.remarks import forget
from captionseg.text.vocabulary import Vocabulary
from captionseg.training import loader
from captionseg.training.augment import Augmenter, AugmentParams
from captionseg.training.batch_texts import BatchTexts
from captionseg.training.batches import Batches
from captionseg.training.training_set import Sentences
from tests.captionseg.training.test_batches import epoch, same


@pytest.fixture
def pixels(folders):
    """kind of tokens, masking -> batches of 8 for a model that reads pixels of 16 and tokens."""

    def make(kind: str = "clip", masking: str | None = None, **changes) -> Batches:
        reads = InputSpec(picture=16, tokens=kind, masking=masking)
        data = loader.load(folders, curation="cocu", archive="cocu", reads=reads)
        augment = Augmenter(AugmentParams(), 16)
        return Batches(
            data,
            batch=8,
            texts=3,
            seed=0,
            words=BatchTexts(data, reads, "imagenet"),
            augment=augment,
            **changes,
        )

    return make


def test_pixels_and_tokens_in_place_of_regions_and_embeddings(pixels):
    first = next(iter(pixels()))
    assert first.image.shape == (8, 3, 16, 16)
    assert first.regions.shape[:2] == (8, 0)
    assert first.tokens.captions.shape[0] == 8
    assert first.tokens.concepts.shape[:2] == (8, 3)
    assert (first.tokens.captions[:, 0] == 49406).all()
    assert (
        first.tokens.concepts.max(2).values == 49407
    ).all()  # each is ended, also where there was nothing to draw
    assert first.masked is None


def test_concepts_are_prompted_anew_each_epoch(pixels):
    batches = pixels()
    decoder = batches.words.tokens.encode

    def said(batch: Batch) -> list[str]:
        return [
            decoder.decode(row[1 : row.argmax()].tolist())
            for row in batch.tokens.concepts.flatten(0, 1)
        ]

    first, second = (next(iter(batches)) for batches.epoch in (0, 1))
    for texts, batch in ((said(first), first), (said(second), second)):
        names = [batches.data.concepts[c] if c >= 0 else "" for c in batch.text_concept.flatten()]
        assert all(name in text for name, text in zip(names, texts, strict=True))
        assert (
            len({text.replace(name, "{}") for name, text in zip(names, texts, strict=True) if name})
            > 5
        )
    assert not torch.equal(first.image, second.image)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(pixels, workers):
    alone, several = pixels(), pixels()
    for number in (0, 1):
        several.epoch = number
        found = list(DataLoader(several, batch_size=None, num_workers=workers))
        assert len(found) == 4
        for own, of_worker in zip(epoch(alone, number), found, strict=True):
            fields = zip(vars(own).items(), vars(of_worker).values(), strict=True)
            assert [name for (name, a), b in fields if not same(a, b)] == []


@pytest.mark.parametrize(("shuffle", "first", "seen"), [(1, 0, [1, 1]), (1, 3, [1]), (9, 0, [])])
def test_each_shard_is_read_ahead_when_its_window_begins(pixels, monkeypatch, shuffle, first, seen):
    batches, read = pixels(), []
    rows_of = batches.data.pictures.shard
    monkeypatch.setattr(
        batches.data.pictures, "read_ahead", lambda rows: read.append(len(set(rows_of[rows])))
    )
    batches.shuffle, batches.first = shuffle, first
    assert len(list(batches)) == 4 - first
    assert read == seen


def test_augmentation_leaves_other_random_numbers_alone(pixels):
    batches = iter(pixels())
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    next(batches)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]


def test_masked_captions_answers_and_what_is_behind_the_masks(pixels):
    batches = pixels("bert", "all")
    batch, words = next(iter(batches)), batches.words
    concepts, decode = words.concepts, words.tokens.encode.decode
    for row in range(8):
        masked = decode(batch.masked.tokens[row], skip_special_tokens=False)
        at = (batch.masked.tokens[row] == words.tokens.mask).nonzero()[:, 0]
        names = [concepts[c] for c in batch.masked.target[row, at]]
        for name in names:
            masked = masked.replace("[MASK]", name, 1)
        caption = decode(batch.tokens.captions[row], skip_special_tokens=True)
        assert names
        assert (
            masked.replace("[CLS]", "").replace("[SEP]", "").replace("[PAD]", "").strip() == caption
        )
        rest = torch.ones(batch.masked.target.shape[1], dtype=torch.bool)
        rest[at] = False
        assert (batch.masked.target[row, rest] == -1).all()
        answer = decode(batch.masked.answers[row], skip_special_tokens=True)
        behind = list(dict.fromkeys(batch.masked.target[row, at].tolist()))
        assert answer.endswith(" and ".join(concepts[c] for c in behind))
        assert [c for c in batch.masked.asked[row].tolist() if c >= 0] == behind


@pytest.fixture(scope="module")
def space() -> TextSpace:
    """With the text tower of the default encoder, of which words take the tokens."""
    encoder: object = SimpleNamespace(text_tower=load_text_tower())
    return TextSpace(encoder, None, None)  # type: ignore[arg-type]


@pytest.fixture
def frozen(folders, space):
    """context -> batches of 8 for a model that reads dense features and words, as CoDe does."""

    def make(context: int = 77) -> Batches:
        reads = InputSpec(dense=True, tokens="frozen", words=True, context=context)
        data = dataclasses.replace(
            loader.load(folders, curation="cocu", archive="cocu", reads=reads), space=space
        )
        return Batches(data, batch=8, texts=3, seed=0, words=BatchTexts(data, reads, "imagenet"))

    return make


def said(batches: Batches, tokens: torch.Tensor) -> list[str]:
    return [batches.words.tower.encode.decode(row.tolist()) for row in tokens.flatten(0, -2)]


def test_tokens_of_the_frozen_encoder_with_names_alone_and_concepts_of_words(frozen):
    batches = frozen()
    batch = next(iter(batches))
    names = [batches.data.concepts[c] if c >= 0 else "" for c in batch.text_concept.flatten()]
    assert said(batches, batch.tokens.names) == names
    assert batch.tokens.names.shape[:2] == batch.tokens.concepts.shape[:2] == (8, 3)
    prompts = said(batches, batch.tokens.concepts)
    assert all(name in prompt for name, prompt in zip(names, prompts, strict=True))
    assert any(name != prompt for name, prompt in zip(names, prompts, strict=True))
    for tokens, belongs, named in zip(
        batch.tokens.captions, batch.tokens.caption_words, batch.caption_concepts, strict=True
    ):
        assert set(belongs.tolist()) == set(named.tolist()) | {-1}
        for token, concept in zip(tokens.tolist(), belongs.tolist(), strict=True):
            word = batches.words.tower.encode.id_to_token(token)
            assert (
                (word == batches.data.concepts[concept])
                if concept >= 0
                else word not in batches.data.concepts
            )
    assert batch.masked is None


def test_captions_are_cut_at_the_context(frozen):
    whole, short = (next(iter(frozen(context))) for context in (77, 4))
    assert whole.tokens.captions.shape[1] == 7  # [CLS] a dog on the grass [SEP]
    assert short.tokens.captions.shape == short.tokens.caption_words.shape == (8, 4)
    assert torch.equal(short.tokens.captions[:, :3], whole.tokens.captions[:, :3])
    assert torch.equal(short.tokens.caption_words[:, :3], whole.tokens.caption_words[:, :3])
    assert (short.tokens.caption_words[:, 3] == -1).all()


def test_workers_change_nothing_for_words_of_the_frozen_encoder(frozen):
    found = list(DataLoader(frozen(), batch_size=None, num_workers=2))
    assert len(found) == 4
    assert all(map(same, frozen(), found))


@pytest.mark.parametrize(
    ("caption", "context", "expected"),
    [
        ("a dog on grass", 77, "[CLS] a dog=dog on grass [SEP]"),
        ("DOGS and a dog", 77, "[CLS] dogs=dog and a dog=dog [SEP]"),
        ("two zebracorns", 77, "[CLS] two zebra=zebracorn ##cor=zebracorn ##ns=zebracorn [SEP]"),
        ("polar bears, a bear", 77, "[CLS] polar=polar bear bears=polar bear , a bear [SEP]"),
        ("a catboat and a cat", 77, "[CLS] a cat ##boat and a cat=cat [SEP]"),
        ("zebra zebracorn", 77, "[CLS] zebra zebra=zebracorn ##cor=zebracorn ##n=zebracorn [SEP]"),
        ("a dog or a cat", 5, "[CLS] a dog=dog or [SEP]"),
        ("a zebracorn", 5, "[CLS] a zebra ##cor [SEP]"),  # half a word is none
        ("grass", 77, "[CLS] grass [SEP]"),
    ],
)
def test_tokens_of_a_caption_belong_to_the_concepts_of_its_words(
    data, space, caption, context, expected
):
    vocabulary = Vocabulary(
        ("dog", "cat", "zebracorn", "polar bear"),
        {"dogs": "dog", "zebracorns": "zebracorn", "bears": "bear"},
    )
    data = dataclasses.replace(data, space=space, sentences=Sentences([caption], None, vocabulary))
    words = BatchTexts(data, InputSpec(tokens="frozen", words=True, context=context), "simple")
    captions = [caption, "a dog by a very long pole and another dog"]
    tokens = words.tokens(captions)
    found = words.match_concepts(captions, tokens, vocabulary)
    assert found.shape == tokens.shape
    piece = space.encoder.text_tower.encode.id_to_token
    marked = [
        piece(token) + (f"={vocabulary.concepts[c]}" if c >= 0 else "")
        for token, c in zip(tokens[0].tolist(), found[0].tolist(), strict=True)
    ]
    padding = ["[PAD]"] * (len(marked) - len([t for t in tokens[0] if t]))
    assert " ".join(marked) == " ".join([expected, *padding])


def test_captions_that_are_cut_are_said_once_and_before_the_first_batch(data, caplog):
    forget()
    long = "a dog " * 9
    data = dataclasses.replace(data, sentences=Sentences(["a dog", long], None, None))
    words = BatchTexts(data, InputSpec(tokens="bert", context=12), "simple")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(
        "1 text is longer than the 12 tokens that the text encoder"
    )
    words(np.array([1]), np.array([[-1]]), np.random.default_rng(0))
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("kind", ["clip", "bert"])
def test_own_encodings_know_the_concepts_of_words_too(data, kind):
    vocabulary = Vocabulary(("zebracorn",), {})
    data = dataclasses.replace(
        data, sentences=Sentences(["a zebra, a zebracorn!"], None, vocabulary)
    )
    words = BatchTexts(data, InputSpec(tokens=kind, words=True), "simple")
    tokens, _ = words(np.array([0]), np.array([[-1]]), np.random.default_rng(0))
    assert tokens.names is None
    chosen = tokens.captions[tokens.caption_words >= 0].tolist()
    assert words.tokens.encode.decode(chosen).strip() == "zebracorn"
