import functools
import io
import json
import sys

import pytest

from captionseg.tracking import store as stores
from captionseg.tracking import writer

BEGAN = 1_700_000_000_000


def start(root, stage="index"):
    return {
        "call": "start",
        "stage": stage,
        "recipe": None,
        "root": str(root),
        "params": {},
        "patience": 5.0,
        "began": BEGAN,
    }


def the_run(root):
    (run,) = stores.Store(root, 5.0).runs("tags.stage = 'index'")
    return run


def hear(monkeypatch, text, **options):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return list(writer.read_calls(**options))


def test_calls_are_lines(monkeypatch):
    said = [
        {"call": "params", "values": {"a": 1}},
        {"call": "end", "status": "FINISHED", "error": ""},
    ]
    assert hear(monkeypatch, "".join(json.dumps(call) + "\n" for call in said)) == said


def test_half_a_line_is_not_a_call(monkeypatch):
    assert hear(monkeypatch, '{"call": "flush"}\n{"call": "par') == [{"call": "flush"}]


def test_input_that_stays_open_after_the_stage_died_is_an_end(monkeypatch):
    class Open:
        def __iter__(self):
            yield '{"call": "flush"}\n'
            never.wait()

    never, parents = writer.threading.Event(), iter([10, 10, 1])
    monkeypatch.setattr(writer.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(sys, "stdin", Open())
    try:
        assert list(writer.read_calls(0.01)) == [{"call": "flush"}] * 2, (
            "what was said, one silence, then the death"
        )
    finally:
        never.set()


def test_input_that_ends_without_a_farewell_is_a_killed_run(root):
    assert writer.serve(
        iter([start(root), {"call": "metrics", "values": {"a": 1.0}, "step": 3, "timestamp": 5}])
    )
    run = the_run(root)
    assert run.info.status == "KILLED"
    assert run.info.start_time == BEGAN, "when the stage began, not when MLflow was imported"
    assert run.data.metrics["a"] == 1.0, "what was said before the death is recorded"


def test_the_first_thing_that_goes_wrong_is_one_line_and_the_rest_is_left_out(root, capsys):
    gone = {"call": "artifact", "path": str(root / "gone.png"), "folder": ""}
    later = {"call": "params", "values": {"a": 1}}
    end = {"call": "end", "status": "FINISHED", "error": ""}
    assert not writer.serve(iter([start(root), gone, dict(gone), later, end]))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("warning: tracking: artifact: ")
    assert "gone.png" in said
    run = the_run(root)
    assert run.info.status == "FINISHED", "the stage itself did finish"
    assert run.data.tags["tracking.incomplete"].startswith("artifact: ")
    assert run.data.params == {}


def test_why_a_stage_failed_is_a_tag(root):
    writer.serve(
        iter([start(root), {"call": "end", "status": "FAILED", "error": "ValueError: no pairs"}])
    )
    assert the_run(root).data.tags["error"] == "ValueError: no pairs"


@pytest.mark.parametrize("name", ["close", "store", "__init__"])
def test_only_calls_of_a_tracker_are_obeyed(root, name, capsys):
    assert not writer.serve(
        iter([start(root), {"call": name}, {"call": "end", "status": "FINISHED", "error": ""}])
    )
    assert f"KeyError: '{name}'" in capsys.readouterr().err


def test_a_stage_that_died_before_its_first_word_leaves_no_run(root):
    assert writer.serve(iter([]))
    assert stores.Store(root, 5.0).runs("") == []


@pytest.mark.parametrize(("every", "samples"), [(0.0, 4), (60.0, 1)])
def test_the_machine_is_looked_at_between_calls_and_at_the_end(root, monkeypatch, every, samples):
    monkeypatch.setattr(writer, "Machine", functools.partial(writer.Machine, interval=every))
    metric = {"call": "metrics", "values": {"a": 1.0}, "step": 3, "timestamp": 5}
    end = {"call": "end", "status": "FINISHED", "error": ""}
    assert writer.serve(iter([start(root), dict(metric), {"call": "flush"}, dict(metric), end]))
    client = stores.Store(root, 5.0).client
    history = client.get_metric_history(
        the_run(root).info.run_id, "system/system_memory_usage_percentage"
    )
    assert [metric.step for metric in history] == list(range(1, samples + 1))


def test_mlflow_is_imported_before_the_stage_has_said_anything(root, monkeypatch):
    said = []

    def serve(calls):
        said.append("serves")
        return True

    monkeypatch.setattr(writer, "serve", serve)
    monkeypatch.setattr(writer, "read_calls", lambda: said.append("listens"))
    monkeypatch.setattr(writer, "import_backend", lambda: said.append("imports"))
    monkeypatch.setattr(writer.signal, "signal", lambda *_: None)
    assert writer.main() == 0
    assert said == ["listens", "imports", "serves"]


def test_an_mlflow_that_cannot_be_imported_is_said_by_the_run(root, monkeypatch, capsys):
    def fail():
        raise ImportError("no mlflow")

    monkeypatch.setattr(writer, "import_backend", fail)
    monkeypatch.setattr(stores, "import_client", fail)
    monkeypatch.setattr(writer.signal, "signal", lambda *_: None)
    monkeypatch.setattr(writer, "read_calls", lambda: iter([start(root)]))
    assert writer.main() == 1
    assert capsys.readouterr().err.startswith("warning: tracking: ImportError: no mlflow;")


def test_the_stage_is_watched_before_its_calls_are_taken(monkeypatch):
    parents = iter([10, 1])
    monkeypatch.setattr(writer.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    writer.read_calls()
    assert next(parents) == 1, "its process was noted at once"
