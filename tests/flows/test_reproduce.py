import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.process import TooLate
from tests.imported_late import import_late

module = import_late("flows.reproduce")
stage_task = import_late("flows.stage_task")

# Stages that tell of their runs in files beside the repository, where DVC does not look.
CHAIN = """
stages:
  c:
    cmd: echo c >> ../ran; cat b.txt > c.txt; mkdir -p reports; cp ../metrics.json reports
    deps: [b.txt]
    outs: [c.txt]
    metrics: [reports/metrics.json: {cache: false}]
  b:
    cmd: echo b >> ../ran; %s
    deps: [a.txt]
    outs: [b.txt]
    meta: {prefect: {retries: 1, retry_delay_seconds: 0, timeout: %s}}
  a:
    cmd:
    - echo a >> ../ran; echo $CAPTIONSEG_FLOW_RUN > ../flow
    - echo the voice of a; echo a > a.txt
    - python -c 'import dvc'
    outs: [a.txt]
"""

pytestmark = pytest.mark.usefixtures("server")


def ran(root):
    return (root.parent / "ran").read_text().split()


def outcomes(rows):
    return {row["stage"]: row["outcome"] for row in rows}


def artifacts():
    """key -> data of the newest artifact of each kind."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return {artifact.key: artifact.data for artifact in client.read_latest_artifacts()}


def exit_code_of_a_fork():
    child = multiprocessing.get_context("fork").Process(target=int)
    child.start()
    child.join()
    return child.exitcode


@pytest.fixture
def heard(caplog):
    """What the tasks log."""
    module()  # Prefect sets its loggers up when it is imported
    logger = logging.getLogger("prefect.task_runs")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_stages_run_in_order_once_and_a_failure_is_tried_again(repository, heard):
    root = repository(
        CHAIN % ("test -e ../tried || { touch ../tried; exit 1; }; cp a.txt b.txt", 60)
    )
    (root / "reports").mkdir()
    (root.parent / "metrics.json").write_text(
        '{"recipes": {"cocu-mil": {"miou": 36.25}}, "data": {"pairs": 4}}'
    )
    (root / "reports" / "index.html").write_text("")
    assert outcomes(module().reproduce(root=str(root))) == {"a": "ran", "b": "ran", "c": "ran"}
    assert ran(root) == ["a", "b", "b", "c"]
    assert "the voice of a" in heard.messages
    assert len((root.parent / "flow").read_text().strip()) == 36, (
        "stages know the run of the flow by its id"
    )
    assert "| recipes.cocu-mil.miou | 36.25 |" in artifacts()["metrics"]
    assert str(root / "reports" / "index.html") in artifacts()["metrics"]

    (root / "b.txt").unlink()
    rows = module().reproduce(["b"], root=str(root))
    assert outcomes(rows) == {"a": "unchanged", "b": "restored"}
    assert ran(root) == ["a", "b", "b", "c"]
    assert outcomes(json.loads(artifacts()["stages"])) == outcomes(rows)

    rows = module().reproduce(["b"], force=True, root=str(root))
    assert outcomes(rows) == {"a": "unchanged", "b": "ran"}, "what it needs is not forced"
    assert ran(root)[4:] == ["b"]
    assert exit_code_of_a_fork() == 0, "tests with loaders run in the same process"


def test_a_stage_that_keeps_failing_stops_the_flow(repository, capsys):
    root = repository(CHAIN % ("echo no pairs in shard 7; exit 4", 60))
    (root / "reports").mkdir()
    (root / "reports" / "metrics.json").write_text('{"of_the_run_before": 1}')
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert module().main(["--root", str(root), "--targets", "c"]) == 1
    finally:
        signal.signal(signal.SIGTERM, handler)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == "error: stage 'b' failed with exit code 4: no pairs in shard 7"
    assert ran(root) == ["a", "b", "b"], "one retry, and nothing after it"
    assert not (root / "b.txt").exists()
    shown = artifacts()
    assert outcomes(json.loads(shown["stages"])) == {"a": "ran", "b": "failed", "c": "not run"}
    assert "of_the_run_before" not in shown.get("metrics", "")


def test_a_stage_that_takes_too_long_fails_by_name(repository, monkeypatch):
    root, allowed = repository(CHAIN % ("cp a.txt b.txt", 0.5)), []

    def late(command, say, *, timeout, **_):
        allowed.append((command[-1], timeout))
        if timeout:
            raise TooLate("timed out after 0.5 s")
        return 0

    monkeypatch.setattr(stage_task(), "run", late)
    with pytest.raises(stage_task().StageError, match=r"^stage 'b': timed out after 0.5 s$"):
        module().reproduce(root=str(root))
    assert allowed == [("a", None), ("b", 0.5), ("b", 0.5)], "its own time-out, and its retry"


def copy_database(target):
    """The test server's database, so that another server need not make all its tables (seconds)."""
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL

    target.parent.mkdir()
    source = str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).partition(":///")[2]
    with contextlib.closing(sqlite3.connect(source)) as connection:
        connection.execute("VACUUM INTO ?", [str(target)])


def test_sigterm_ends_the_stage_and_the_temporary_server(repository, tmp_path):
    copy_database(tmp_path / "prefect" / "prefect.db")
    root = repository(CHAIN % ("echo $$ > ../child; sleep 600", 600))
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_API")}
    flow = subprocess.Popen(
        [sys.executable, "-m", "flows.reproduce", "--root", str(root)],
        cwd=Path(__file__).parents[2],
        env={**environ, "PREFECT_HOME": str(tmp_path / "prefect")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 300
    while not (tmp_path / "child").exists():
        assert flow.poll() is None, "it ended before the stage started"
        assert time.monotonic() < until, "the stage did not start"
        time.sleep(0.1)
    family = psutil.Process(flow.pid).children(recursive=True)
    assert any("uvicorn" in " ".join(p.cmdline()) for p in family), (
        "no server was running, so it made one"
    )
    flow.terminate()
    assert flow.wait(240) == 128 + signal.SIGTERM
    _, alive = psutil.wait_procs(family, timeout=120)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_failure_carries_the_end_of_the_log():
    error = stage_task().StageError(
        "b", " failed with exit code 4: no pairs", [f"line {i}" for i in range(100)]
    )
    said = str(error).splitlines()
    assert said[:2] == ["stage 'b' failed with exit code 4: no pairs", "last lines of its log:"]
    assert said[2:] == [f"line {i}" for i in range(80, 100)]
    assert (
        str(stage_task().StageError("b", ": timed out after 3 s"))
        == "stage 'b': timed out after 3 s"
    )


def test_recipes_are_targets_and_each_delay_is_twice_the_last(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(module(), "read", lambda root, targets: asked.append(targets) or [])
    module().reproduce(["curate"], ["cocu-mil"], root=str(tmp_path))
    assert asked == [["curate", "evaluate@cocu-mil"]]
    delays = (
        module()
        .add_options(module().Stage("index", retries=3, retry_delay_seconds=10))
        .retry_delay_seconds
    )
    assert delays == [10, 20, 40]


@pytest.mark.parametrize(
    ("targets", "forced"), [([], {"a", "b@x", "b@y"}), (["b"], {"b@x", "b@y"}), (["b@y"], {"b@y"})]
)
def test_what_is_forced_are_the_targets_all_stages_where_none_is_named(
    monkeypatch, tmp_path, targets, forced
):
    asked = []
    monkeypatch.setattr(
        module(),
        "read",
        lambda root, targets: [module().Stage(name) for name in ("a", "b@x", "b@y")],
    )
    monkeypatch.setattr(
        module(), "run_all", lambda stages, root, key, forced: asked.append(forced) or []
    )
    module().reproduce(targets, force=True, root=str(tmp_path))
    module().reproduce(targets, root=str(tmp_path))
    assert asked == [forced, set()]


def test_the_reason_is_what_the_stage_said_last():
    lines = [
        "Running stage 'b':",
        "error: no pairs",
        "",
        "ERROR: failed to reproduce 'b': exited with 1",
    ]
    assert stage_task().find_reason(lines) == "error: no pairs"
    assert stage_task().find_reason([]) == "no output"


def test_a_gpu_stage_has_the_tag_that_a_limit_can_hold():
    assert module().add_options(module().Stage("index", gpu=True)).tags == {"gpu"}
    assert module().add_options(module().Stage("curate")).tags == set()
