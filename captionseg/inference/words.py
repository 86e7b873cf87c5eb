"""Names -> class embeddings, by whichever text encoder a model has."""

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
from captionseg.modeling.segmenter import InputSpec
from captionseg.remarks import group_warnings
from captionseg.text.prompts import TCL, embed_classes, read_templates
from captionseg.text.tokenizers import Tokenizer, tokenizer

Encode = Callable[[Sequence[str]], np.ndarray]
LEARNT = "learnt"
SUBSET = "subset"
SETS = {SUBSET: TCL[:7]}
"""Template sets for classification beside those of captionseg.text.prompts: CLIP's seven, as
GroupViT has them.
"""
TOKENIZER = "tokenizer"
"""Folder beside a saved model that holds its tokenizer, where that comes with no package."""

# one a model, as long as it lives
_tokenizers: WeakKeyDictionary[torch.nn.Module, Tokenizer] = WeakKeyDictionary()


def embed_class_names(
    model: Any,
    folder: Path | None,
    frozen: Callable[[], Encoder],
    names: Sequence[str],
    prompts: str,
) -> torch.Tensor:
    """[C, D] float32 embeddings of class names, on the model's device.

    Args:
        model: see `build_text_encoder`.
        folder: see `build_text_encoder`.
        frozen: see `build_text_encoder`.
        names: [C].
        prompts: template set that they are put into.
    """
    vectors = embed_classes(
        names, build_text_encoder(model, folder, frozen), choose_templates(model, prompts)
    )
    return torch.from_numpy(vectors).to(
        next(itertools.chain(model.parameters(), model.buffers())).device
    )


def choose_templates(model: Any, name: str) -> tuple[str, ...]:
    """The templates of a set; the name alone for a model that has learnt its prompt. Raises as
    `templates`.
    """
    if name_prompts(model, name) == LEARNT:
        return ("{}",)
    return SETS[name] if name in SETS else read_templates(name)


def name_prompts(model: Any, name: str) -> str:
    """What prompts a model's classes are put into: a template set, or LEARNT."""
    return LEARNT if model.config.reads.tokens == "frozen" else name


def build_text_encoder(
    model: Any, folder: Path | None, frozen: Callable[[], Encoder], *, batch: int = 256
) -> Encode:
    """texts -> [T, D]: of the model's own encoder, or the frozen one that it was trained on; that
    one is attached here.

    Args:
        model: a Segmenter, on its device.
        folder: that it was loaded from; None for one in training, whose config says where its
            tokenizer is.
        frozen: gives the frozen encoder; not called where the model has its own.
        batch: texts at once.
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
        device = next(model.parameters()).device
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
        """See Tokenizer: it comes with the encoder."""


def build_tokenizer(
    reads: InputSpec, folder: Path | None = None, tower: TextTower | None = None
) -> Tokenizer:
    """The tokenizer of a model that reads tokens.

    Args:
        reads: of the model.
        folder: as in `build_text_encoder`.
        tower: of the frozen encoder, where the tokens are its.
    """
    if reads.tokens == "clip" or reads.tokens == "bert":
        if folder is None:
            where: Path | str = reads.tokenizer
        else:
            where = folder / TOKENIZER if (folder / TOKENIZER).is_dir() else ""
        return tokenizer(reads.tokens, where, context=reads.context)
    assert tower is not None, "no tokens are read, or the frozen encoder is missing"
    return TowerTokens(tower, reads.context)
