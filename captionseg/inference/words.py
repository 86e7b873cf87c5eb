"""Names -> class embeddings, by whichever text encoder a model has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from captionseg.encoders import Encoder
from captionseg.modeling.segmenter import Reads
from captionseg.text.prompts import class_embeddings, templates
from captionseg.text.tokenizers import Tokenizer, tokenizer

Encode = Callable[[Sequence[str]], np.ndarray]
TOKENIZER = "tokenizer"
"""Folder beside a saved model that holds its tokenizer, where that comes with no package."""

_tokenizers: WeakKeyDictionary[torch.nn.Module, Tokenizer] = WeakKeyDictionary()  # one a model, as long as it lives


def class_vectors(model: Any, folder: Path | None, frozen: Callable[[], Encoder], names: Sequence[str],
                  prompts: str) -> torch.Tensor:  # fmt: skip
    """[C, D] float32 embeddings of class names, on the model's device.

    Args:
        model: see `text_encoder`.
        folder: see `text_encoder`.
        frozen: see `text_encoder`.
        names: [C].
        prompts: template set that they are put into.
    """
    found = class_embeddings(names, text_encoder(model, folder, frozen), templates(prompts))
    return torch.from_numpy(found).to(next(itertools.chain(model.parameters(), model.buffers())).device)


def text_encoder(model: Any, folder: Path | None, frozen: Callable[[], Encoder], *, batch: int = 256) -> Encode:
    """texts -> [T, D]: of the model's own encoder, or the frozen one that it was trained on.

    Args:
        model: a Segmenter, on its device.
        folder: that it was loaded from; None for one in training, whose config says where its tokenizer is.
        frozen: gives the frozen encoder; not called where the model has its own.
        batch: texts at once.
    """
    if model.config.reads.tokens is None:
        return frozen().text
    if model not in _tokenizers:
        _tokenizers[model] = tokenizer_of(model.config.reads, folder)
    tokens = _tokenizers[model]

    def encode(texts: Sequence[str]) -> np.ndarray:
        device = next(model.parameters()).device
        with torch.inference_mode():
            rows = [model.encode_text(torch.from_numpy(tokens(texts[i : i + batch])).to(device)).float().cpu().numpy()
                    for i in range(0, len(texts), batch)]  # fmt: skip
        return np.concatenate(rows)

    return encode


def tokenizer_of(reads: Reads, folder: Path | None = None) -> Tokenizer:
    """The tokenizer of a model that reads tokens; `folder` as in `text_encoder`."""
    assert reads.tokens is not None
    if folder is None:
        where: Path | str = reads.tokenizer
    else:
        where = folder / TOKENIZER if (folder / TOKENIZER).is_dir() else ""
    return tokenizer(reads.tokens, where, context=reads.context)
