"""No concepts, and every row as it was."""

from dataclasses import replace

import numpy as np

from captionseg.curation.captions import Captions
from captionseg.curation.nouns import Nouns
from captionseg.curation.rule import supervise, supervise_all


def test_concepts_are_taken_away_and_rows_are_kept(make_corpus):
    corpus = make_corpus()
    nouns = supervise_all(Nouns(), corpus)
    dropped = replace(nouns, kept=~nouns.kept, drop_reason=np.full(len(nouns), "x", object))
    for given in (nouns, dropped):
        rule, rows = Captions(), np.arange(len(corpus))
        out = supervise(rule, rule.fit(corpus), corpus, given, name="captions", rows=rows)
        assert not out.count.any()
        assert out.kept.tolist() == given.kept.tolist()
        assert list(out.drop_reason) == list(given.drop_reason)
