"""Embeds class names with the text encoder of a model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_tower import TextTower
from captionseg.inference.text_cache import Encode, TextCache, identify_state
from captionseg.modeling.segmenter import InputSpec
from captionseg.remarks import group_warnings
from captionseg.text.prompts import TCL, embed_classes, read_templates
from captionseg.text.tokenizers import Tokenizer, tokenizer

LEARNT, BARE = "learnt", "bare"
"""In place of a template set: a learnt prompt, and names alone."""
SUBSET = "subset"
SETS = {SUBSET: TCL[:7]}
"""Template sets for classification, in addition to those of captionseg.text.prompts: CLIP's seven
templates, as used by GroupViT.
"""
TOKENIZER = "tokenizer"
"""Folder of a saved model's tokenizer, unless it is the packaged one."""

# one per model, as long as it exists
_tokenizers: WeakKeyDictionary[torch.nn.Module, Tokenizer] = WeakKeyDictionary()
_caches: WeakKeyDictionary[torch.nn.Module, TextCache] = WeakKeyDictionary()


def embed_class_names(
    model: Any,
    folder: Path | None,
    frozen: Callable[[], Encoder],
    names: Sequence[str],
    prompts: str,
) -> torch.Tensor:
    """Embed C class names: [C, D] float32, on the model's device.

    Texts that this model has embedded before, with these weights, are not embedded again.

    Args:
        model: see `build_text_encoder`.
        folder: see `build_text_encoder`.
        frozen: see `build_text_encoder`.
        names: C class names.
        prompts: template set.

    Raises:
        UserError: for an unknown template set.
    """
    encode = keep_embeddings(model, build_text_encoder(model, folder, frozen), frozen)
    vectors = embed_classes(names, encode, choose_templates(model, prompts))
    return torch.from_numpy(vectors).to(find_device(model))


def find_device(model: Any) -> torch.device:
    """Return the device of a model, which may have buffers alone."""
    return next(itertools.chain(model.parameters(), model.buffers())).device


def keep_embeddings(model: Any, encode: Encode, frozen: Callable[[], Encoder]) -> Encode:
    """Return `encode` with a memory, see TextCache.

    Args:
        model: see `build_text_encoder`.
        encode: what it returned.
        frozen: see `build_text_encoder`; whether weights of this encoder change is not looked at.
    """
    reads = model.config.reads
    encoder = frozen() if reads.holds_encoder or reads.tokens in (None, "frozen") else None
    state = identify_state(model) if reads.tokens else ()
    if state is None:
        return encode
    cache = _caches.setdefault(model, TextCache())
    # with the encoder itself, whose number another one could get later
    return lambda texts: cache.embed(texts, encode, (Same(encoder), state))


class Same:
    """An object that equals itself alone."""

    def __init__(self, item: object) -> None:
        self.item = item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.item is other.item

    def __hash__(self) -> int:
        return id(self.item)


def choose_templates(model: Any, name: str) -> tuple[str, ...]:
    """Return the templates of a set; only `{}` for a model with a learnt prompt, or none.

    Raises:
        UserError: for an unknown template set.
    """
    if name_prompts(model, name) in (LEARNT, BARE):
        return ("{}",)
    return SETS[name] if name in SETS else read_templates(name)


def name_prompts(model: Any, name: str) -> str:
    """Return the template set that a model's classes are put into, or LEARNT or BARE."""
    if model.config.reads.bare:
        return BARE
    return LEARNT if model.config.reads.tokens == "frozen" else name


def build_text_encoder(
    model: Any, folder: Path | None, frozen: Callable[[], Encoder], *, batch: int = 256
) -> Encode:
    """Return the function from T texts to [T, D], by the model's own text encoder or the frozen
    one.

    The frozen encoder is attached to a model that holds it.

    Args:
        model: a Segmenter, on its device.
        folder: folder that it was loaded from; None for a model in training, whose config names
            the folder of its tokenizer.
        frozen: returns the frozen encoder; not called if the model has its own.
        batch: number of texts at once.
    """
    reads = model.config.reads
    if reads.holds_encoder:
        model.attach(frozen())
    if reads.tokens is None:
        return frozen().text
    if model not in _tokenizers:
        tower = frozen().text_tower if reads.tokens == "frozen" else None
        _tokenizers[model] = build_tokenizer(reads, folder, tower)
    tokens = _tokenizers[model]

    def encode(texts: Sequence[str]) -> np.ndarray:
        device = find_device(model)
        with torch.inference_mode(), group_warnings():
            rows = [
                model.encode_text(torch.from_numpy(tokens(texts[i : i + batch])).to(device))
                .float()
                .cpu()
                .numpy()
                for i in range(0, len(texts), batch)
            ]
        return np.concatenate(rows)

    return encode


class TowerTokens:
    """The tokenizer of a frozen text tower. See Tokenizer."""

    mask = -1

    def __init__(self, tower: TextTower, context: int) -> None:
        self.tower, self.context = tower, context

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """See Tokenizer."""
        return self.tower.tokens(texts, self.context).numpy()

    def save(self, folder: Path) -> None:
        """See Tokenizer. Does nothing, because it is saved with the encoder."""


def build_tokenizer(
    reads: InputSpec, folder: Path | None = None, tower: TextTower | None = None
) -> Tokenizer:
    """Build the tokenizer of a model that reads tokens.

    Args:
        reads: what the model reads.
        folder: see `build_text_encoder`.
        tower: text tower of the frozen encoder, if its tokens are read.
    """
    if reads.tokens is not None and reads.tokens != "frozen":
        if folder is None:
            where: Path | str = reads.tokenizer
        else:
            where = folder / TOKENIZER if (folder / TOKENIZER).is_dir() else ""
        return tokenizer(reads.tokens, where, context=reads.context)
    assert tower is not None, "no tokens are read, or the frozen encoder is missing"
    return TowerTokens(tower, reads.context)
