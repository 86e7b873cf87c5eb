"""Checks that the gate and `regression` name numbers that a run will produce."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from captionseg.curation import held_out
from captionseg.gate.thresholds import parse
from captionseg.params import Params
from captionseg.records import DROPPED, UserError
from captionseg.reporting.tables import SCORES, SEGMENT_MEASURES
from captionseg.storage.nested import Keys

log = logging.getLogger(__name__)

CURATION_MEASURES = (
    "concepts_per_image",
    "kept",
    "recall",
    "precision",
    "recall_unnamed",
    "sampled_recall",
    "sampled_precision",
)
DIFFERENCE = ("miou", "low", "high", "better")
NEAR = 0.9  # similarity from which a name counts as a typo of another


def list_numbers(params: Params) -> set[Keys]:
    """Return the paths of all numbers that metrics.json may contain."""
    name, paths = (
        params.evaluate.name,
        {("data", "pairs"), ("data", "download_success"), ("gate", "passed")},
    )
    paths |= {("data", "masks", split) for split in ("train", "tune", "test")}
    paths |= {
        ("index", f"{index}_recall")
        for index in ("image", "text", "neighbours", "caption_neighbours")
    }
    paths |= {
        ("curation", rule, measure) for rule in params.curate.rules for measure in CURATION_MEASURES
    }
    paths |= {("curation", DROPPED, kind) for kind in params.curate.marks.kinds()}
    paths |= {
        ("curation", rule, "held_out", measure)
        for rule in params.curate.rules
        for measure in held_out.MEASURES
    }
    paths |= {
        ("segments", *more, measure) for more in ((), ("captions",)) for measure in SEGMENT_MEASURES
    }
    for recipe in params.recipes:
        paths |= {("recipes", recipe, name, score) for score in SCORES}
        paths |= {
            ("recipes", recipe, name, over, key)
            for over in ("over_baseline", "over_control")
            for key in DIFFERENCE
        }
        paths |= {
            ("recipes", recipe, f"{name}@{paper}", score)
            for paper in params.evaluate.also.get(recipe, ())
            for score in SCORES
        }
        paths |= {("recipes", recipe, "train", measure) for measure in ("loss", "tune_miou")}
    return paths


def check_gate(params: Params) -> Iterator[str]:
    """Check that gate rules can be parsed and name numbers that the run will produce."""
    known = list_numbers(params)
    for name, text in params.gate.items():
        try:
            rule = parse(name, text)
        except UserError as error:
            yield str(error)
            continue
        for word in [word for _, factors in (*rule.left, *rule.right) for word in factors]:
            try:
                if not math.isfinite(float(word)):
                    yield f"gate.{name}: {word!r} is not a finite number"
            except ValueError:
                yield from check_pattern(
                    f"gate.{name}: metrics.json will not contain {word}", word, known
                )


def check_regression(params: Params) -> Iterator[str]:
    """Check that every pattern of `regression` matches a number that the run will produce."""
    known = list_numbers(params)
    for pattern in params.regression:
        yield from check_pattern(
            f"regression.{pattern}: matches no number in metrics.json", pattern, known
        )


def check_pattern(fault: str, pattern: str, known: Iterable[Keys]) -> Iterator[str]:
    """Yield the fault if a pattern matches no known number.

    If only the name of a recipe, rule or benchmark is unknown, and it is no typo of a known one,
    the fault is logged as a warning instead: an experiment may have fewer recipes than the gate's
    rules name.
    """
    words = pattern.split(".")
    if "retrieval" in words[:-1]:  # the numbers below it depend on the queries
        words = words[: words.index("retrieval") + 1]
    alike = [keys for keys in known if len(keys) == len(words)]
    if any(all(map(fnmatchcase, keys, words)) for keys in alike):
        return
    ends = [
        keys
        for keys in alike
        if fnmatchcase(keys[0], words[0]) and fnmatchcase(keys[-1], words[-1])
    ]
    slips = [".".join(keys) for keys in ends if all(map(is_slip, keys, words))]
    if ends and not slips:
        log.warning("%s", fault)
        return
    near = slips or difflib.get_close_matches(pattern, {".".join(keys) for keys in known}, 1)
    yield fault + (
        f"; did you mean {min(near)!r}?"
        if near
        else " (sections: data, index, curation, segments, recipes)"
    )


def is_slip(name: str, word: str) -> bool:
    """Return whether a word matches a name as a pattern, or is a likely typo of it."""
    return fnmatchcase(name, word) or difflib.SequenceMatcher(None, name, word).ratio() >= NEAR
