"""Which concepts the captions of a corpus name, spread over workers."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pyarrow as pa
from scipy.sparse import csr_array, vstack

from captionseg.runtime.fan_out import spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.text.vocabulary import Vocabulary

CHUNK = 10_000  # captions at once


def match_corpus(
    vocabulary: Vocabulary, captions: Sequence[str] | pa.StringArray, runtime: RuntimeParams = HERE
) -> csr_array:
    """Match N captions, equal ones once: [N, C] bool, which concepts each names.

    Args:
        vocabulary: whose concepts.
        captions: of all pairs.
        runtime: what the captions are spread over.
    """
    column = pa.array(captions, pa.string()).dictionary_encode()
    starts = range(0, len(column.dictionary), CHUNK)
    chunks = [column.dictionary[start : start + CHUNK] for start in starts]
    parts = spread(
        functools.partial(_match_chunk, vocabulary),
        chunks,
        runtime,
        called=lambda _: "curate: matching of captions",
    )
    empty = csr_array((0, len(vocabulary.concepts)), dtype=bool)
    return csr_array(vstack([empty, *parts], format="csr"))[column.indices.to_numpy()]


def _match_chunk(vocabulary: Vocabulary, captions: pa.StringArray) -> csr_array:
    return vocabulary.match_captions(captions.to_pylist())
