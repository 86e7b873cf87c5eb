"""What all jobs read is, in another process, what it was."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from captionseg.arrays import Texts
from captionseg.curation import corpus as corpora
from captionseg.curation.shared import Shared, open_saved, save
from captionseg.encoders.text_space import TextSpace
from captionseg.records import Sigmoid
from captionseg.text.corpus_vocabulary import build
from captionseg.text.vocabulary import VocabularyParams

ARRAYS = (
    "image_embedding",
    "image_feature",
    "neighbours",
    "caption_neighbours",
    "concept_embedding",
)


def test_what_is_opened_is_what_was_saved(world, tmp_path, monkeypatch):
    learnt = {world.features / "encoder": Sigmoid(10.0, -6.0)}
    monkeypatch.setattr(corpora, "load_sigmoid", learnt.get)
    encode = TextSpace.load(world.encoder).encode
    corpus, _ = corpora.load(
        world.index,
        world.features,
        lambda captions: build(captions, VocabularyParams(minimum=2)),
        encode,
    )
    kind = ["" if n else "exact_duplicate" for n in range(len(corpus))]
    marks = Texts(pa.array(kind)), Texts(pa.array([f"like {text}" for text in kind]))
    measured = np.arange(len(corpus)) % 2 == 0
    shared = Shared(corpus, *marks, {"u": {"dog", "cat"}}, corpus.named[::-1], measured)
    save(shared, world.index, tmp_path / "corpus")
    found = open_saved(world.index, world.features, tmp_path / "corpus")
    for name in ARRAYS:
        before, after = (getattr(one, name)[np.array([3, 0])] for one in (corpus, found.corpus))
        np.testing.assert_array_equal(before, after)
        assert before.dtype == after.dtype
    assert list(found.corpus.uid) == list(corpus.uid)
    assert list(found.corpus.caption) == list(corpus.caption)
    assert tuple(found.corpus.vocabulary) == tuple(corpus.vocabulary)
    assert (found.corpus.named != corpus.named).nnz == 0
    assert (found.held_out != shared.held_out).nnz == 0
    assert found.corpus.sigmoid == corpus.sigmoid == Sigmoid(10.0, -6.0)
    assert list(found.kind) == kind
    assert found.reason[np.array([1])].tolist() == ["like "]
    assert found.true == shared.true
    assert found.measured.tolist() == measured.tolist()
    assert found.is_known
