"""Texts as Grounding DINO reads them: token numbers in pieces of whole sentences, and where their
words stand.

The model has four word pieces of BERT wired in. [CLS], [SEP], "." and "?" separate: tokens attend
to those of their own sentence alone, positions start anew with each, and both only if a separator
beside [SEP] ends it. Therefore every piece ends with one, and a text that is cut after one is read
as the whole would be. Decimal points and those of abbreviations separate too; nothing is done about
that.
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
        ids: [n] int64, from [CLS] to [SEP], with a separator before that.
        places: [n, 2] int, (start, end) characters in the whole text; NOWHERE of what is no word.
    """

    ids: np.ndarray
    places: np.ndarray

    @property
    def words(self) -> np.ndarray:
        """[n] bool: tokens that may speak for a box."""
        return self.places[:, 0] != NOWHERE


def reason_against(tokenizer: Any) -> str:
    """What keeps a tokenizer from being Grounding DINO's: numbers that the model has not, no
    places; or nothing.
    """
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
    """A text in as few pieces of whole sentences as there can be; those without a word are left
    out.

    Args:
        tokenizer: a fast one of transformers.
        text: one caption, as written.
        limit: tokens of a piece, [CLS] and [SEP] counted.
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
    """Ranges of at most so many tokens that end after a separator, each as long as can be.

    A sentence of more tokens is cut wherever the limit falls: there is no other way to ask for it.
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
    """The piece of some tokens: between [CLS] and [SEP], with a separator at the end if they have
    none.
    """
    tail = [SEP] if ids[-1] in SEPARATORS else [STOP, SEP]
    around = np.full((1 + len(tail), 2), NOWHERE)
    return Piece(
        np.concatenate([[CLS], ids, tail]), np.concatenate([around[:1], places, around[1:]])
    )
