"""Captions with their entities masked, embedded: OVSegmentor's questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from captionseg.records import Supervision
from captionseg.storage import read_tables
from captionseg.text.entities import mask

Masking = Literal["all", "one", "nouns"]
Encode = Callable[[Sequence[str]], np.ndarray]


def masked_embeddings(index: Path, vocabulary: Path, supervision: Supervision, nouns: Supervision, masking: Masking,
                      encode: Encode) -> np.ndarray:  # fmt: skip
    """[N, D] float32: embeddings of the masked captions of the rows of a supervision.

    Args:
        index: folder of the index stage, which holds the captions.
        vocabulary: folder with lemma.json.
        supervision: whose concepts are masked where the caption names them.
        nouns: of the same rows; all of its concepts are masked for `nouns`.
        masking: all of them, the first one alone, or the caption's nouns.
        encode: texts -> embeddings.
    """
    rows = read_tables(index / "metadata", columns=["uid", "caption"]).to_pydict()
    caption = dict(zip(rows["uid"], rows["caption"], strict=True))
    lemma = json.loads((vocabulary / "lemma.json").read_text())
    source = nouns if masking == "nouns" else supervision
    concepts = dict(zip(source.uid, source.concepts, strict=True))
    texts = []
    for uid in supervision.uid:
        entities = [c.text for c in concepts.get(uid, ())]
        if masking == "one":
            entities = next(([e] for e in entities if mask(caption[uid], [e], lemma)[1]), [])
        texts.append(mask(caption[uid], entities, lemma)[0])
    return encode(texts)
