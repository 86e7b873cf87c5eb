"""The jobs of curation; test_fan_out_of_stages has them killed and spread."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from captionseg.curation import shards
from captionseg.curation.rule import supervise_all
from captionseg.supervision.columns import Supervision


def test_a_rule_that_loses_rows_is_found_out(by_hand):
    blank = Supervision.blank(by_hand.uid)
    shards.check_rows("x", blank, blank)
    for wrong in (Supervision.blank(by_hand.uid[:-1]), Supervision.blank(by_hand.uid[::-1])):
        with pytest.raises(RuntimeError, match="rule x returned other rows"):
            shards.check_rows("x", blank, wrong)
    kept = replace(blank, kept=np.arange(len(by_hand)) > 0)
    with pytest.raises(RuntimeError, match="rule x keeps rows that were dropped before it"):
        shards.check_rows("x", kept, blank)


def test_a_rule_that_returns_other_rows_is_found_out(by_hand):
    @dataclass(frozen=True)
    class Loses:
        def fit(self, corpus):
            return {}

        def curate(self, corpus, fitted, rows):
            return {"concept": np.zeros((len(rows) - 1, 2), np.int32)}

    with pytest.raises(RuntimeError, match="rule x returned other rows than it was given"):
        supervise_all(Loses(), by_hand, name="x")
