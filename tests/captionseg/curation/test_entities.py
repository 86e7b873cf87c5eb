"""Which nouns are entities, and the CC4M rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.curation.entities import Entities
from captionseg.curation.leave_one_out import LeaveOneOut
from captionseg.curation.rule import supervise, supervise_all
from captionseg.curation.visibility import measure_visibility
from captionseg.records import UserError
from captionseg.supervision.columns import NO_CONCEPT, Supervision


@pytest.fixture
def corpus(make_corpus):
    """Concept 0 can be seen in the features, concept 1 is named at random, concept 2 is seen and
    rare.
    """
    base = make_corpus(images=200, concepts=3)
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(200, 8)).astype(np.float32)
    named = np.stack([feature[:, 0] > 0.3, rng.random(200) < 0.3, feature[:, 1] > 1.2], 1)
    return replace(
        base, image_feature=feature, named=csr_array(named), vocabulary=["dog", "view", "woman"]
    )


def test_visibility_is_the_area_under_the_roc_curve(corpus):
    from sklearn.metrics import roc_auc_score

    model = LeaveOneOut.fit(corpus.image_feature, corpus.named, 30.0)
    score = model.predict(np.arange(200), corpus.image_feature, corpus.named.toarray())
    expected = [roc_auc_score(corpus.named.toarray()[:, c], score[:, c]) for c in range(3)]
    found = measure_visibility(corpus, 30.0, 1000)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[0] > 0.9
    assert found[1] < 0.65
    assert found[2] > 0.8


def test_a_noun_that_no_picture_tells_is_no_entity(corpus):
    out = supervise_all(Entities(), corpus)
    named = corpus.named.toarray()
    for row, concepts, kept, reason in zip(
        named, out.to_texts(), out.kept, out.drop_reason, strict=True
    ):
        assert set(concepts) == {
            t for t, n in zip(("dog", "view", "woman"), row, strict=True) if n
        } - {"view"}
        assert kept == bool(concepts)
        assert reason == ("" if kept else NO_CONCEPT)


def test_the_most_frequent_are_taken(corpus):
    out = supervise_all(Entities(size=1), corpus)
    assert {text for row in out.to_texts() for text in row} == {"dog"}
    everything = supervise_all(Entities(visible=0.0), corpus)
    assert {text for row in everything.to_texts() for text in row} == {"dog", "view", "woman"}


def test_the_published_list_and_its_synonyms(corpus):
    out = supervise_all(Entities(source="published"), corpus)
    # nothing to merge with
    assert {text for row in out.to_texts() for text in row} == {"dog", "woman"}
    people = replace(corpus, vocabulary=["people", "view", "woman"])
    merged, apart = (
        supervise_all(Entities(source="published", merge=m), people) for m in (True, False)
    )
    assert {text for row in merged.to_texts() for text in row} == {"people"}
    assert {text for row in apart.to_texts() for text in row} == {"people", "woman"}
    assert merged.kept.tolist() == apart.kept.tolist()


def test_what_is_dropped_already_keeps_its_reason(corpus):
    before = Supervision.blank(corpus.uid)
    before = replace(
        before,
        kept=np.zeros(len(corpus), bool),
        drop_reason=np.full(len(corpus), "duplicate", object),
    )
    rule, rows = Entities(), np.arange(len(corpus))
    out = supervise(rule, rule.fit(corpus), corpus, before, name="entities", rows=rows)
    assert set(out.drop_reason) == {"duplicate"}
    assert not out.kept.any()


def test_a_list_without_any_match_is_one_line(corpus):
    strange = replace(corpus, vocabulary=["view", "idea", "art"])
    with pytest.raises(
        UserError, match=r"no caption names an entity; lower curate\.entities\.visible"
    ):
        supervise_all(Entities(source="published"), strange)
