"""The corpus that rules read, and the marks of its pairs before any rule runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.curation import corpus as corpora
from captionseg.curation.rules import CurateParams
from captionseg.curation.visibility import drop_invisible
from captionseg.marking.mark import Marks, mark
from captionseg.marking.marker import Rows
from captionseg.marking.rows import load_rows, read_indexed_pairs, with_concepts
from captionseg.records import Corpus
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.text.corpus_vocabulary import build
from captionseg.text.vocabulary import Vocabulary

pc: Any = compute  # its functions are made when it is imported


@dataclass(frozen=True)
class Inputs:
    """Folders of earlier stages.

    Attributes:
        pairs: shards of pairs.
        index: folder of the index stage.
        features: folder of the index stage with frozen features.
    """

    pairs: Path
    index: Path
    features: Path

    @cached_property
    def pair_table(self) -> pa.Table:
        """The pairs of the index, see `read_indexed_pairs`; read once."""
        return read_indexed_pairs(self.pairs, self.index)


def load_marked(
    inputs: Inputs,
    encode: Callable[[Sequence[str]], np.ndarray],
    params: CurateParams,
    *,
    seed: int,
    words: Path | None = None,
    runtime: RuntimeParams = HERE,
) -> tuple[Corpus, Vocabulary, Rows, Marks]:
    """The corpus of the training pairs and its vocabulary; all pairs, and their marks.

    A caption that a marker of captions marks is ignored by the vocabulary and by every rule, also
    as a neighbour's caption. Other marked pairs are read like the rest, since their captions
    describe their images.

    Args:
        inputs: folders.
        encode: texts -> embeddings in the index's space.
        params: section `curate`.
        seed: of the markers.
        words: folder for tagged captions, see `captionseg.text.corpus_vocabulary.build`.
        runtime: what captions are spread over.

    Raises:
        UserError: if there is no training pair, or all are marked.
    """
    chosen = params.marks.list_markers()
    late = {name: marker for name, marker in chosen.items() if marker.reads == "concepts"}
    early = {name: marker for name, marker in chosen.items() if name not in late}
    rows = load_rows(inputs.pair_table, inputs.features)
    marks = mark(rows, early, Marks.blank(len(rows)), seed=seed)
    corpus, vocabulary = corpora.load(
        inputs.index,
        inputs.features,
        lambda captions: build(captions, params.vocabulary, folder=words, runtime=runtime),
        encode,
        prompts=params.prompts,
        unread=marks.unread[~rows.held_out],
        runtime=runtime,
    )
    if params.vocabulary.file is None and params.vocabulary.visible:
        hidden = pa.array(marks.unread[~rows.held_out])
        read = pc.if_else(hidden, "", pa.array(corpus.caption, pa.string()))
        corpus, vocabulary = drop_invisible(corpus, vocabulary, read, params.vocabulary.visible)
    if late:
        rows = with_concepts(rows, corpus.named, corpus.vocabulary)
    return corpus, vocabulary, rows, mark(rows, late, marks, seed=seed)
