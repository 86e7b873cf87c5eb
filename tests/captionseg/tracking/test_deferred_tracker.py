"""What a stage says of its files is said when they are in place."""

from __future__ import annotations

from pathlib import Path

from captionseg.tracking.deferred_tracker import DeferredTracker


class Heard:
    """Writes down what it is told."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *values, **named: self.calls.append((name, values, named))


def test_files_are_told_late_and_under_their_new_names():
    heard = Heard()
    deferred = DeferredTracker(
        heard,
        {Path("work/a/model"): Path("models/cocu"), Path("work/a/t.json"): Path("reports/t.json")},
    )
    deferred.metrics({"loss": 1.0}, 3)
    deferred.model(Path("work/a/model"), "cocu")
    deferred.summary({"x": 1}, [Path("work/a/t.json"), Path("elsewhere")])
    deferred.recipes({}, folders={"models": Path("work/a/model/seeds")}, benchmark="b")
    assert heard.calls == [("metrics", ({"loss": 1.0}, 3), {})], (
        "the rest only if the stage ends well"
    )
    deferred.send()
    deferred.send()
    assert heard.calls[1:] == [
        ("model", (Path("models/cocu"), "cocu"), {}),
        ("summary", ({"x": 1}, [Path("reports/t.json"), Path("elsewhere")]), {}),
        ("recipes", ({},), {"folders": {"models": Path("models/cocu/seeds")}, "benchmark": "b"}),
    ]
