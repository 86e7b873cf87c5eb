"""No concepts, and every row as it was."""

from dataclasses import replace

import numpy as np

from captionseg.curation.captions import Captions
from captionseg.curation.nouns import Nouns
from captionseg.supervision.columns import Supervision


def test_concepts_are_taken_away_and_rows_are_kept(make_corpus):
    corpus = make_corpus()
    nouns = Nouns()(corpus, Supervision.blank(corpus.uid))
    dropped = replace(nouns, kept=~nouns.kept, drop_reason=np.full(len(nouns), "x", object))
    for given in (nouns, dropped):
        out = Captions()(corpus, given)
        assert not out.count.any()
        assert out.kept.tolist() == given.kept.tolist()
        assert list(out.drop_reason) == list(given.drop_reason)
