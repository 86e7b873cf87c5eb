"""The interface of captioners, their prompt and decoding, and the clean-up of their answers."""

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
"""The prompt of USE, section 3.1. Its baseline is "Describe the image in detail."."""


@dataclass(frozen=True)
class Decoding:
    """Prompt and sampling parameters of a model (section 3.1 of USE); captions depend on all.

    Attributes:
        prompt: the question; {caption} is replaced by the original caption.
        temperature: sampling temperature; 0 takes the likeliest token.
        top_p: sample from the fewest tokens whose probabilities sum to it.
        top_k: sample from at most so many tokens; 0 is no limit.
        max_new_tokens: maximum length of an answer.
        seed: seed of the sampling; each picture's own seed is derived from it, its pixels and the
            question.
    """

    prompt: str = PROMPT
    temperature: ZeroOrMore = 0.8
    top_p: ShareAboveZero = 0.4
    top_k: Natural = 5
    max_new_tokens: Count = 512
    seed: Seed = 0


class CaptionError(UserError):
    """One picture could not be captioned; the others still can. Any other UserError ends
    the run.
    """

    status = "failed"


class NoCaption(CaptionError):
    """A file of precomputed captions has none for this picture."""

    status = "missing"


class Captioner(Protocol):
    """Describes pictures."""

    @property
    def batch(self) -> int:
        """Number of images per call of `captions`."""
        ...

    @property
    def key(self) -> str:
        """Hash of everything that determines a caption, including weights: equal keys give equal
        captions. It does not depend on the machine or the batch size.
        """
        ...

    def captions(
        self,
        images: Sequence[np.ndarray],
        originals: Sequence[str],
        *,
        uids: Sequence[str] = (),
        urls: Sequence[str] = (),
    ) -> list[str]:
        """Generate a raw caption for each of B pictures.

        Args:
            images: B uint8 [H, W, 3] of any size.
            originals: B original captions.
            uids: B ids of their pairs, for looking up captions.
            urls: B source URLs, for looking up captions.

        Raises:
            CaptionError: if one of them cannot be captioned; the caller then retries them one by
                one.
            UserError: if none can be captioned.
        """
        ...


def fill_prompt(prompt: str, caption: str) -> str:
    """Replace {caption} in the prompt by the original caption."""
    return prompt.replace("{caption}", " ".join(caption.split()))


def derive_seed(seed: int, image: np.ndarray, question: str) -> int:
    """Derive a 63-bit seed from a picture uint8 [H, W, 3] and a question, so that a caption does
    not depend on the batch.
    """
    digest = hashlib.sha256(f"{seed} {image.shape} {question}\0".encode(errors="replace"))
    digest.update(np.ascontiguousarray(image).data)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def hash_fields(kind: str, **fields: Any) -> str:
    """Hash a configuration to 16 hex digits."""
    return hashlib.sha256(json.dumps([kind, fields], sort_keys=True).encode()).hexdigest()[:16]


_BULLET = r"(?:[-*+•>]|#{1,6}|\d{1,3}[.)])[ \t]"
_BLOCK = re.compile(rf"\n[ \t]*(?=\n|{_BULLET})")
_MARK = re.compile(rf"^{_BULLET}+")


def tidy_answer(text: str) -> str:
    """Convert an answer to plain text: no Markdown, single spaces, and every paragraph and list
    item ends like a sentence.

    Grounders split text by sentences, and two list items must not be joined.
    """
    # half a surrogate pair is valid JSON, but not valid text
    text = text.encode("utf-8", "ignore").decode()
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text.replace("\r", "\n"))
    blocks = (" ".join(_MARK.sub("", block.strip()).split()) for block in _BLOCK.split(text))
    blocks = (re.sub(r"\*\*|__|`", "", block).strip() for block in blocks)
    return " ".join(b if b[-1] in ".!?:;" else f"{b}." for b in blocks if b)
