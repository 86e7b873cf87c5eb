"""No concepts, and every row as it was."""

from dataclasses import replace

from captionseg.curation.captions import Captions
from captionseg.curation.nouns import Nouns
from captionseg.records import Supervision


def test_concepts_are_taken_away_and_rows_are_kept(make_corpus):
    corpus = make_corpus()
    nouns = Nouns()(corpus, Supervision.blank(corpus.uid))
    dropped = replace(nouns, kept=~nouns.kept, drop_reason=["x"] * len(nouns))
    for given in (nouns, dropped):
        out = Captions()(corpus, given)
        assert not any(out.concepts)
        assert out.kept.tolist() == given.kept.tolist()
        assert list(out.drop_reason) == list(given.drop_reason)
