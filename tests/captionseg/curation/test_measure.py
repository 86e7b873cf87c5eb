from collections import Counter

import numpy as np
import pytest

from captionseg.curation.measure import add_hits, count, measure, sample_texts, summarise
from captionseg.supervision.columns import Supervision, widen
from tests.captionseg.supervision.rows import Concept, supervision_of


def supervision(*rows: dict[str, float]) -> Supervision:
    concepts = [tuple(Concept(text, weight=weight) for text, weight in row.items()) for row in rows]
    return supervision_of("abcdef"[: len(rows)], concepts, kept=[bool(r) for r in rows])


def test_recall_and_precision_are_of_all_concepts_together():
    found, true = [{"dog", "cat"}, {"grass"}, set()], [{"dog"}, {"grass", "sky", "sea"}, {"dog"}]
    counts = Counter()
    add_hits(counts, "x", found, true)
    both = counts["x: both"]
    assert (both / counts["x: true"], both / counts["x: predicted"]) == (2 / 5, 2 / 3)
    nothing = measure(supervision({}), {"a": set()}, [set()], sampled=1, seed=0)
    assert (nothing["recall"], nothing["precision"]) == (0.0, 0.0)


def test_measure_by_hand():
    rows = supervision({"dog": 1, "grass": 1}, {"cat": 1, "car": 1, "sky": 1}, {}, {"sea": 1})
    true = {"a": {"dog", "grass", "sky"}, "b": {"cat"}, "c": {"sky"}}  # nothing is known of d
    named = [{"dog"}, {"cat"}, set(), set()]
    out = measure(rows, true, named, sampled=3, seed=0)
    assert out["concepts_per_image"] == (2 + 3 + 0 + 1) / 4
    assert out["kept"] == 3 / 4
    assert out["recall"] == 3 / 5  # dog, grass; cat - of five
    assert out["precision"] == 3 / 5  # of dog, grass; cat, car, sky
    assert out["recall_unnamed"] == 1 / 3  # grass - of grass, sky; sky
    assert out["sampled_recall"] == 3 / 5  # L = 3 draws all of each archive
    assert out["sampled_precision"] == 3 / 5


def test_what_is_sampled_follows_the_weights():
    rows = supervision({"dog": 1.0, "car": 1e-9})
    out = measure(rows, {"a": {"dog"}}, [set()], sampled=1, seed=0)
    assert (out["precision"], out["sampled_precision"], out["sampled_recall"]) == (0.5, 1.0, 1.0)


def test_each_simulated_step_draws_anew():
    rows = supervision(*({"dog": 1.0, "cat": 1.0} for _ in "abcdef"))
    out = measure(rows, {uid: {"dog", "cat"} for uid in rows.uid}, [set()] * 6, sampled=1, seed=0)
    # eight draws of one find both; the same draw eight times finds half
    assert out["sampled_recall"] > 0.9
    assert out["sampled_precision"] == 1.0


def test_where_nothing_is_known_only_counts_are_given():
    assert measure(supervision({"dog": 1}, {}), {}, [set(), set()], sampled=2, seed=0) == {
        "concepts_per_image": 0.5,
        "kept": 0.5,
    }
    assert measure(supervision(), {}, [], sampled=2, seed=0) == {
        "concepts_per_image": 0.0,
        "kept": 0.0,
    }


def test_texts_of_one_draw():
    picks = sample_texts(
        supervision({"dog": 1, "cat": 1}, {}, {"sea": 1}), 2, np.random.default_rng(0)
    )
    assert picks == [{"dog", "cat"}, set(), {"sea"}]
    with pytest.raises(ValueError, match="shorter"):
        add_hits(Counter(), "x", [set()], [])


def test_counts_of_parts_add_up_to_those_of_all():
    rng = np.random.default_rng(0)
    rows = [{c: float(rng.random()) for c in "dcgs" if rng.random() < 0.6} for _ in range(6)]
    whole = supervision(*rows)
    true, named = {uid: {"d", "g", "x"} for uid in "abdf"}, [set("d")] * 6
    total, width = Counter(), whole.concept.shape[1]
    for part in (np.arange(0, 2), np.arange(2, 6)):
        wide = widen(whole.take(part), width)
        known = {i: named[row] for i, row in enumerate(part)}
        total.update(count(wide, true, known, sampled=1, seed=4, first=int(part[0])))
    assert summarise(total) == measure(whole, true, named, sampled=1, seed=4)
