import numpy as np
import pytest

from captionseg.marking.balance import Balance, choose_limit, draw_uniform, hash_texts
from tests.captionseg.marking.rows import marked, rows_of


def test_the_limit_leaves_a_share_to_the_tail():
    count = np.array([50, 30, 10, 5, 5, 0])  # 100 matches
    assert choose_limit(count, 0.05) == 5  # nothing is below 5; 10 leaves 10 of 100
    assert choose_limit(count, 0.10) == 10
    assert choose_limit(count, 0.19) == 10
    assert choose_limit(count, 0.20) == 30
    assert choose_limit(count, 0.50) == 50
    assert choose_limit(np.zeros(3, int), 0.1) == 1


def test_what_is_rare_stays_and_what_is_frequent_is_thinned_out():
    named = [{"sky"}] * 4000 + [{"sky", "newt"}] * 10 + [set()] * 10
    rows = rows_of(len(named), named=named, descriptor=np.zeros((len(named), 1)))
    found = marked(Balance(t=401), rows)
    assert max(found) < 4000  # newts stay, and so does what names nothing
    assert len(found) == pytest.approx(4000 * 0.9, abs=80)  # 401 of 4010 pass; 4 sigma of 19
    assert found[min(found)][:2] == (
        "balance",
        "balance: names nothing rarer than sky (4010 captions)",
    )
    assert marked(Balance(t=4010), rows) == {}


def test_each_concept_draws_by_itself():
    named = [{"sky", "grass"}] * 3000
    rows = rows_of(3000, named=named, descriptor=np.zeros((3000, 1)))
    found = marked(Balance(t=900), rows)  # each passes with .3, so .49 stay by neither
    assert len(found) == pytest.approx(0.49 * 3000, abs=110)


def test_only_kept_rows_count():
    rows = rows_of(4, named=[{"sky"}] * 4)
    kept = [True, True, False, False]
    assert marked(Balance(t=2), rows, kept) == {}


def test_draws_know_neither_the_order_of_rows_nor_that_of_concepts():
    named = [{"sky", f"thing{n % 7}"} for n in range(300)]
    rows = rows_of(300, named=named)
    order = np.random.default_rng(0).permutation(300)
    other = rows_of(300, uid=rows.uid[order], named=[named[n] for n in order])
    first = {rows.uid[n] for n in marked(Balance(t=5), rows)}
    assert first == {other.uid[n] for n in marked(Balance(t=5), other)}
    assert 50 < len(first) < 290
    assert first != {rows.uid[n] for n in marked(Balance(t=5), rows, seed=1)}


def test_draws_are_uniform():
    uids = hash_texts([f"{n:032x}" for n in range(20_000)])
    drawn = draw_uniform(uids, np.repeat(hash_texts(["sky"]), 20_000), 0)
    assert 0 <= drawn.min() < drawn.max() < 1
    share = np.histogram(drawn, 10, (0, 1))[0] / 20_000
    np.testing.assert_allclose(share, 0.1, atol=0.009)  # 4 sigma
    other = draw_uniform(uids, np.repeat(hash_texts(["grass"]), 20_000), 0)
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.03
