"""OVSegmentor's entities (§3.1.2): frequent nouns that name a visible thing; captions without any
are dropped.

The paper removes abstract nouns by hand. Here a noun is an entity if the images whose captions name
it can be told from the others by what they look like: the area under the ROC curve of a
leave-one-out ridge regression of "the caption names it" on the frozen image features. `source:
published` takes the paper's list instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array

from captionseg.curation.rule import Columns, Fitted
from captionseg.curation.selection import list_named
from captionseg.curation.visibility import measure_visibility
from captionseg.records import Corpus, UserError
from captionseg.text.entity_list import PUBLISHED, merge_synonym
from captionseg.typed import AboveZero, Count, Share


@dataclass(frozen=True)
class Entities:
    """The caption's entities, all equally likely; the CC4M rule: a row without one is dropped.

    Attributes:
        source: corpus, or the published list of 100.
        size: the most frequent visible nouns of the corpus, so many.
        visible: area under the ROC curve that a noun of the corpus needs; 0 takes every noun.
        strength: of the ridge that measures it.
        sample: rows that it is measured on, evenly spaced.
        merge: count synonyms of the published list as one, where the vocabulary holds the one.
        limit: at most so many an image, the most frequent first.
        chunk: images at once.
    """

    source: Literal["corpus", "published"] = "corpus"
    size: Count = 100
    visible: Share = 0.65
    strength: AboveZero = 30.0
    sample: Count = 20_000
    merge: bool = True
    limit: Count = 6
    chunk: Count = 1024

    def fit(self, corpus: Corpus) -> Fitted:
        """See Rule.

        Raises:
            UserError: if the corpus names no entity at all.
        """
        target = self.targets(corpus)
        if not (target >= 0).any():
            raise UserError(
                "curate.entities: no caption names an entity; lower curate.entities.visible, or "
                "take source: corpus in place of the published list"
            )
        return {"target": target}

    def curate(self, corpus: Corpus, fitted: Fitted, rows: np.ndarray) -> Columns:
        """See Rule."""
        target = fitted["target"]
        entities, size = np.flatnonzero(target >= 0), len(target)
        merge = csr_array(
            (np.ones(len(entities), np.int32), (entities, target[entities])), shape=(size, size)
        )
        return {"concept": list_named(corpus.named[rows].astype(np.int32) @ merge, self.limit)}

    def targets(self, corpus: Corpus) -> Int[np.ndarray, " C"]:
        """For each concept the entity that it counts as, -1 where it is none."""
        number = {text: i for i, text in enumerate(corpus.vocabulary)}
        if self.source == "published":
            published = set(PUBLISHED)
            chosen = [i for text, i in number.items() if text in published]
        else:
            visibility = (
                measure_visibility(corpus, self.strength, self.sample)
                if self.visible
                else np.ones(len(number))
            )
            chosen = np.flatnonzero(visibility >= self.visible)[
                : self.size
            ].tolist()  # the vocabulary is by frequency
        target = np.full(len(number), -1)
        for i in chosen:
            target[i] = number.get(merge_synonym(corpus.vocabulary[int(i)]), i) if self.merge else i
        return target
