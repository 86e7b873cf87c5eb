"""Cuts texts into pieces of whole sentences for Grounding DINO, with the positions of words.

The numbers of four tokens are fixed in the model. [CLS], [SEP], "." and "?" separate sentences:
tokens attend only to tokens of their sentence, and positions restart with each sentence, but only
if it ends with "." or "?". So each piece ends with one of these, and a text that is cut after one
is read as if it were whole. Points in decimal numbers and abbreviations separate sentences, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

CLS, SEP, STOP, QUESTION = 101, 102, 1012, 1029
SEPARATORS = (STOP, QUESTION)
NOWHERE = -1


@dataclass(frozen=True)
class Piece:
    """A text, or as many of its sentences as the model reads at once.

    Attributes:
        ids: [n] int64 token numbers, from [CLS] to a separator and [SEP].
        places: [n, 2] int, (start, end) characters in the whole text; NOWHERE for tokens that are
            no words.
    """

    ids: np.ndarray
    places: np.ndarray

    @property
    def words(self) -> np.ndarray:
        """[n] bool: which tokens are words."""
        return self.places[:, 0] != NOWHERE


def reason_against(tokenizer: Any) -> str:
    """Return why a tokenizer cannot be used with Grounding DINO; empty if it can."""
    for piece, number in {"[CLS]": CLS, "[SEP]": SEP, ".": STOP, "?": QUESTION}.items():
        if (own_number := tokenizer.convert_tokens_to_ids(piece)) != number:
            return (
                f"its tokenizer has {piece} as {own_number}, the model as {number}; take the "
                "checkpoint's own"
            )
    return (
        ""
        if tokenizer.is_fast
        else "its tokenizer knows no places of tokens; add the checkpoint's tokenizer.json"
    )


def cut_into_pieces(tokenizer: Any, text: str, limit: int) -> list[Piece]:
    """Cut a text into as few pieces of whole sentences as possible, without pieces without words.

    Args:
        tokenizer: fast tokenizer of transformers.
        text: a caption.
        limit: maximum number of tokens of a piece, including [CLS] and [SEP].
    """
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    ids, places = (
        np.array(encoded["input_ids"], np.int64),
        np.array(encoded["offset_mapping"], int).reshape(-1, 2),
    )
    places[np.isin(ids, (CLS, SEP, *SEPARATORS))] = NOWHERE  # a caption may spell "[SEP]" out
    ranges = [slice(*ends) for ends in cut_ranges(ids, limit - 3)]
    return [add_special_tokens(ids[r], places[r]) for r in ranges if (places[r] != NOWHERE).any()]


def cut_ranges(ids: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Return ranges (start, end) of tokens that end after a separator, as long as possible.

    A sentence that is longer than the limit is cut at the limit.

    Args:
        ids: [n] token numbers.
        most: maximum number of tokens of a range.
    """
    ends = np.flatnonzero(np.isin(ids, SEPARATORS)) + 1
    out, start = [], 0
    while start < len(ids):
        within = ends[(ends > start) & (ends <= start + most)]
        end = (
            len(ids)
            if len(ids) <= start + most
            else int(within[-1])
            if len(within)
            else start + most
        )
        out.append((start, end))
        start = end
    return out


def add_special_tokens(ids: np.ndarray, places: np.ndarray) -> Piece:
    """Put tokens between [CLS] and [SEP], with a separator at the end if there is none.

    Args:
        ids: [n] token numbers.
        places: [n, 2] (start, end) characters.
    """
    tail = [SEP] if ids[-1] in SEPARATORS else [STOP, SEP]
    around = np.full((1 + len(tail), 2), NOWHERE)
    return Piece(
        np.concatenate([[CLS], ids, tail]), np.concatenate([around[:1], places, around[1:]])
    )
