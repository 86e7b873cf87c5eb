"""The interface of captioners, what is asked of them, and how their answers are tidied."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from captionseg.records import UserError
from captionseg.typed import Count, Natural, Seed, ShareAboveZero, ZeroOrMore

PROMPT = (
    "Describe this image in detail. In your description, specifically mention ALL VISIBLE parts "
    "of each object in the image."
)
"""USE's, section 3.1. Its baseline is "Describe the image in detail."."""


@dataclass(frozen=True)
class Decoding:
    """What a model is asked, and how its answer is drawn (section 3.1 of USE): captions depend on
    all of it.

    Attributes:
        prompt: the question; {caption} in it stands for the original caption.
        temperature: of the sampling; 0 takes the likeliest word.
        top_p: the fewest words whose probabilities reach it are drawn from.
        top_k: at most so many; 0 is no limit.
        max_new_tokens: at most so many an answer.
        seed: of the sampling; each picture has a seed of its own, made of this, its pixels and the
            question.
    """

    prompt: str = PROMPT
    temperature: ZeroOrMore = 0.8
    top_p: ShareAboveZero = 0.4
    top_k: Natural = 5
    max_new_tokens: Count = 512
    seed: Seed = 0


class CaptionError(UserError):
    """One picture got no caption; the others can still get theirs. Any other UserError ends the
    run.
    """

    status = "failed"


class NoCaption(CaptionError):
    """Nobody was asked: there is no caption for this picture where captions were made before."""

    status = "missing"


class Captioner(Protocol):
    """Describes pictures.

    Attributes:
        batch: how many images to give to `captions` at once.
        key: of everything that a caption depends on, weights too: equal keys, equal captions. Where
            it runs, and how many pictures at once, does not count.
    """

    @property
    def batch(self) -> int: ...

    @property
    def key(self) -> str: ...

    def captions(
        self,
        images: Sequence[np.ndarray],
        originals: Sequence[str],
        *,
        uids: Sequence[str] = (),
        urls: Sequence[str] = (),
    ) -> list[str]:
        """One generated caption for each of B pictures, untidied.

        Args:
            images: B uint8 [H, W, 3] of any size.
            originals: B original captions.
            uids: B ids of their pairs, for who looks captions up.
            urls: B places where they came from, likewise.

        Raises:
            CaptionError: if one of them cannot be captioned; which, is found out by asking one by
                one.
            UserError: if none can.
        """
        ...


def fill_prompt(prompt: str, caption: str) -> str:
    """The prompt, with the original caption where it says {caption}."""
    return prompt.replace("{caption}", " ".join(caption.split()))


def derive_seed(seed: int, image: np.ndarray, question: str) -> int:
    """63 bits of picture and question: what is drawn for a picture does not depend on those beside
    it.
    """
    digest = hashlib.sha256(f"{seed} {image.shape} {question}\0".encode(errors="replace"))
    digest.update(np.ascontiguousarray(image).data)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def hash_fields(kind: str, **fields: Any) -> str:
    """64 bits of a configuration, as 16 hex digits."""
    return hashlib.sha256(json.dumps([kind, fields], sort_keys=True).encode()).hexdigest()[:16]


_BULLET = r"(?:[-*+•>]|#{1,6}|\d{1,3}[.)])[ \t]"
_BLOCK = re.compile(rf"\n[ \t]*(?=\n|{_BULLET})")
_MARK = re.compile(rf"^{_BULLET}+")


def tidy_answer(text: str) -> str:
    """An answer as running text: no markdown, single spaces, every paragraph and list item a
    sentence with an end.

    Sentences are what grounders separate by, and two list items are not one.
    """
    text = text.encode(
        "utf-8", "ignore"
    ).decode()  # half a surrogate pair is valid JSON and no valid text
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text.replace("\r", "\n"))
    blocks = (" ".join(_MARK.sub("", block.strip()).split()) for block in _BLOCK.split(text))
    blocks = (re.sub(r"\*\*|__|`", "", block).strip() for block in blocks)
    return " ".join(b if b[-1] in ".!?:;" else f"{b}." for b in blocks if b)
