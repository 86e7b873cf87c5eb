"""What every member of RULES must keep to."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import numpy as np
import pytest

from captionseg.curation.cocu import CoCu
from captionseg.curation.rule import supervise, supervise_all
from captionseg.curation.rules import RULES, CurateParams
from captionseg.params import Params
from captionseg.records import Corpus
from captionseg.storage.named_arrays import read_named, write_named
from captionseg.supervision.columns import Supervision
from captionseg.supervision.parquet_files import from_table, to_table
from tests.captionseg.supervision.rows import concepts_of

PARAMS = Params(Path(__file__).parents[3] / "params.yaml").curate


@pytest.fixture(params=sorted(RULES))
def name(request) -> str:
    return request.param


@pytest.fixture
def rule(name):
    """As params.yaml has it, with a neighbourhood and a support that fit a corpus of forty."""
    small = {"neighbours": 6, "minimum_support": 1, "visible": 0.0}
    chosen = getattr(PARAMS, name)
    return replace(
        chosen, **{k: v for k, v in small.items() if k in {f.name for f in fields(chosen)}}
    )


NAMES = {kind: name for name, kind in RULES.items()}


def continue_with(rule, corpus: Corpus, before: Supervision) -> Supervision:
    rows = np.arange(len(corpus))
    return supervise(rule, rule.fit(corpus), corpus, before, name=NAMES[type(rule)], rows=rows)


def run(rule, corpus: Corpus) -> Supervision:
    return supervise_all(rule, corpus, name=NAMES[type(rule)])


def test_the_same_rows_in_the_same_order(rule, make_corpus):
    corpus = make_corpus()
    result = run(rule, corpus)
    assert result.uid.tolist() == corpus.uid.tolist()
    assert len(result.kept) == len(result.drop_reason) == len(result.concept) == len(corpus)


def test_nothing_that_it_was_given_is_changed(rule, make_corpus):
    corpus = make_corpus()
    before = Supervision.blank(corpus.uid)
    kept = copy.deepcopy((corpus, before))
    continue_with(rule, corpus, before)
    for old, new in zip(kept, (corpus, before), strict=True):
        for field in fields(old):
            a, b = getattr(old, field.name), getattr(new, field.name)
            if field.name == "named":
                a, b = a.toarray(), b.toarray()
            np.testing.assert_array_equal(a, b)  # NaN is NaN there


def test_chunks_change_nothing(rule, make_corpus):
    corpus = make_corpus()
    if hasattr(rule, "chunk"):
        same(run(rule, corpus), run(replace(rule, chunk=7), corpus))


def test_rows_may_come_in_any_order_with_what_was_written_to_files(rule, make_corpus, tmp_path):
    corpus = make_corpus()
    write_named(rule.fit(corpus), tmp_path / "fitted")
    fitted = read_named(tmp_path / "fitted")
    whole, rows = run(rule, corpus), np.array([11, 3, 39, 4])
    before = Supervision.blank(corpus.uid[rows])
    some = supervise(rule, fitted, corpus, before, name=whole.rule, rows=rows)
    same(some, whole.take(rows))


def test_nothing_is_random(rule, make_corpus):
    corpus = make_corpus()
    same(run(rule, corpus), run(rule, corpus))


def test_the_table_holds_all_of_it(rule, make_corpus):
    result = run(rule, make_corpus())
    same(result, from_table(to_table(result), result.vocabulary))


def test_scores_weights_and_names(rule, name, make_corpus):
    corpus = make_corpus()
    own = corpus.named.toarray()
    for row, concepts in enumerate(concepts_of(run(rule, corpus))):
        texts = [c.text for c in concepts]
        assert len(set(texts)) == len(texts) <= getattr(rule, "limit", 0)
        assert set(texts) <= set(corpus.vocabulary)
        for c in concepts:
            assert np.isfinite([c.score, c.weight]).all()
            assert c.weight > 0
            assert not np.isinf([c.score_a, c.score_b]).any()
            assert (c.rule, c.support >= 0, c.cluster >= -1) == (name, True, True)
            assert c.support > 0 or own[row, corpus.vocabulary.index(c.text)]


def test_a_caption_that_names_nothing_is_dropped_with_a_reason(rule, name, make_corpus):
    corpus = make_corpus()
    result = run(rule, corpus)
    if name == "captions":  # the caption itself is the text, whatever it names
        assert result.kept.all()
        return
    assert not result.kept[-1]
    assert result.drop_reason[-1] == "no_concept"
    assert result.to_texts()[-1] == []
    for kept, reason, concepts in zip(
        result.kept, result.drop_reason, result.to_texts(), strict=True
    ):
        assert bool(kept) == (not reason) == bool(concepts)


def test_what_was_dropped_before_stays_dropped_for_its_first_reason(rule, make_corpus):
    corpus = make_corpus()
    before = Supervision.blank(corpus.uid)
    before.kept[[0, -1]], before.drop_reason[0], before.drop_reason[-1] = (
        False,
        "too_small",
        "too_small",
    )
    result = continue_with(rule, corpus, before)
    assert not result.kept[[0, -1]].any()
    assert [result.drop_reason[0], result.drop_reason[-1]] == ["too_small", "too_small"]


def test_parameters_cannot_be_changed_behind_its_back(rule):
    with pytest.raises(FrozenInstanceError):
        rule.limit = 3


def test_params_build_each_of_them(name):
    assert type(CurateParams(rules=[name]).list_rules()[name]) is RULES[name]
    assert name in {f.name for f in fields(CurateParams)}


def test_a_variant_is_its_rule_with_other_fields(make_corpus):
    section = CoCu(neighbours=6, minimum_support=1, limit=4, temperature=0.5)
    params = CurateParams(
        ["cocu", "naive"], {"naive": {"rule": "cocu", "ranking": "a", "clusters": 0}}, cocu=section
    )
    assert params.list_rules() == {
        "cocu": section,
        "naive": replace(section, ranking="a", clusters=0),
    }
    assert list(params.list_rules()) == ["cocu", "naive"]
    assert CurateParams(
        ["cocu"], {"naive": {"rule": "cocu", "limit": 2}}, cocu=section
    ).list_rules() == {"cocu": section}


def same(first: Supervision, second: Supervision) -> None:
    assert first.kept.tolist() == second.kept.tolist()
    assert list(first.drop_reason) == list(second.drop_reason)
    for a, b in zip(concepts_of(first), concepts_of(second), strict=True):
        assert [(c.text, c.support, c.cluster, c.rule) for c in a] == [
            (c.text, c.support, c.cluster, c.rule) for c in b
        ]
        for name in ("score", "score_a", "score_b", "weight"):
            np.testing.assert_allclose(
                [getattr(c, name) for c in a], [getattr(c, name) for c in b], rtol=1e-5
            )
