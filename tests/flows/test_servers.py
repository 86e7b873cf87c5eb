"""The real servers and workers, started by the module that users start them by, in a checkout that
is set to shapes.

The DAG is reproduced on the pool `gpu` from the beginning; meanwhile other runs work in small
repositories on `cpu`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
from filelock import FileLock

from flows import daemons
from flows import services as module
from flows.workspace import LOCK
from tests.flows.servers import RECIPE, Services, checkout, gone, runs_of, sh, until
from tests.soak.checkout import ROOT
from tests.whole_dag import Run

STAGES = {
    "download": "unchanged",
    "caption": "unchanged",
    "regions": "unchanged",
    "index": "unchanged",
    "curate": "unchanged",
    "segment_text": "unchanged",
    "validate": "ran",
    f"pretrain@{RECIPE}": "ran",
    f"evaluate@{RECIPE}": "ran",
    "report": "ran",
    "compare": "ran",
}
"""What becomes of each stage where training changes."""


@pytest.fixture(scope="module")
def services(dag: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("services")
    root = checkout(dag.untouched, folder / "captionseg")
    try:
        made = Services(root, folder / "site")
        yield made
        made.client._client.close()
    finally:
        daemons.stop(root / ".services", last=lambda name: False, grace=5)


@pytest.fixture(scope="module")
def whole(services: Services) -> UUID:
    """The run that `nightly` starts by a second schedule, in a few seconds, while the tests go
    on."""
    from prefect.client.schemas.schedules import IntervalSchedule

    nightly = services.client.read_deployment_by_name("reproduce/nightly")
    end = time.monotonic() + 240
    while time.monotonic() < end:
        soon = datetime.now(UTC) + timedelta(seconds=20)
        daily = IntervalSchedule(interval=timedelta(days=1), anchor_date=soon)
        services.client.create_deployment_schedules(nightly.id, [(daily, True)])
        # a scheduler that comes later makes tomorrow's run: once more
        while datetime.now(UTC) < soon:
            for run in runs_of(services, nightly.id):
                if run.auto_scheduled and abs(run.expected_start_time - soon) < timedelta(
                    seconds=2
                ):
                    return run.id
            time.sleep(0.2)
    raise AssertionError("the scheduler makes no run")


@pytest.fixture
def toy(empty_repository: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a committed repository of this dvc.yaml, with n: 1 in its params.yaml."""

    def make(text: str) -> Path:
        root = shutil.copytree(empty_repository, tmp_path / "toy")
        (root / "dvc.yaml").write_text(text)
        (root / "params.yaml").write_text("n: 1\n")
        sh("git add -A && git -c user.name=t -c user.email=t@t commit -qm t", root)
        return root

    return make


def test_one_command_starts_everything_and_says_where(services, whole):
    assert httpx.get(f"http://127.0.0.1:{services.prefect_port}/api/health").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{services.mlflow_port}/health").status_code == 200
    assert f"http://127.0.0.1:{services.prefect_port} " in services.said
    assert str(services.folder / "logs" / "mlflow.log") in services.said
    running = daemons.list_running(services.folder)
    assert running.keys() > {"prefect", "mlflow", "worker-cpu"}
    again = services("start")
    assert daemons.list_running(services.folder) == running
    assert all(f"pid {daemon.pid}" in again for daemon in running.values())
    assert {pool.name for pool in services.client.read_work_pools()} == {"cpu", "gpu"}


def test_a_cron_deployment_is_scheduled(services):
    nightly = services.client.read_deployment_by_name("reproduce/nightly")

    def look() -> list[Any]:
        return [run for run in runs_of(services, nightly.id) if run.expected_start_time.hour == 2]

    runs = until(look, "the scheduler makes runs at two o'clock")
    assert {
        run.state.type.value for run in runs if run.expected_start_time > datetime.now(UTC)
    } == {"SCHEDULED"}


FAILS = """
stages:
  a:
    cmd: echo a > a.txt
    outs: [a.txt]
  b:
    cmd: echo tried >> ../tried; echo shard 6 is there; echo no pairs in shard 7; exit 4
    deps: [a.txt]
    outs: [b.txt]
    meta: {prefect: {retries: 1, retry_delay_seconds: 0.1}}
"""


def test_a_stage_that_fails_is_tried_again_and_reported_with_its_log(services, toy):
    root = toy(FAILS)
    run = services.ended(services.submit("curate", targets=[], root=str(root)))
    assert run.state.type.value == "FAILED", run.state.message
    assert (root.parent / "tried").read_text().split() == ["tried", "tried"]
    for text in (run.state.message, services.artifacts(run.id)["failure"]):
        assert "stage 'b' failed with exit code 4: no pairs in shard 7" in text
        assert "\nshard 6 is there\nno pairs in shard 7\n" in text
    # a run's log reaches the server in batches, the last of them after its final state
    until(lambda: "no pairs in shard 7" in services.log(run.id), "stages' output is in the log")
    outcomes = {
        row["stage"]: row["outcome"] for row in json.loads(services.artifacts(run.id)["stages"])
    }
    assert outcomes == {"a": "ran", "b": "failed"}


WAITS = """
stages:
  a:
    cmd: "echo half > a.part; sleep 600 & echo $! > ../child; wait; mv a.part a.txt"
    outs: [a.txt]
"""


def test_a_cancelled_run_leaves_no_process_no_torn_output_and_no_lock(services, toy):
    from prefect.states import Cancelling

    root = toy(WAITS)
    run = services.submit("curate", targets=[], root=str(root))
    child = root.parent / "child"
    until(lambda: child.exists() and child.read_text().strip(), "the stage starts")
    services.client.set_flow_run_state(run, Cancelling())
    assert services.ended(run).state.type.value == "CANCELLED"
    until(lambda: not psutil.pid_exists(int(child.read_text())), "the stage's child is gone")
    assert not (root / "a.txt").exists()
    with FileLock(root / LOCK, timeout=0):
        assert "a.txt" in sh("dvc status", root, **services.env)


SLOW = """
stages:
  a:
    cmd: echo begin ${n} >> $TOY/ran; sleep 2; echo ${n} > a.txt; echo end ${n} >> $TOY/ran
    params: [n]
    outs: [a.txt]
  b:
    cmd: cat a.txt a.txt > b.txt
    deps: [a.txt]
    metrics: [b.txt: {cache: false}]
  tracked:
    cmd: env CAPTIONSEG_TRACKING=on PYTHONPATH=$HOUSE python -c "$PROGRAM" > c.txt
    deps: [b.txt]
    outs: [c.txt]
"""
TRACKS = """
from pathlib import Path
from captionseg.tracking.tracker import start
with start("tracked", None, root=Path()) as tracker:
    tracker.metrics({"x": 2})
"""


def test_two_runs_at_once_do_not_meet(services, toy):
    """Two want the workspace and queue; a third has overrides, and works beside them in a copy."""
    from prefect.client.schemas.actions import WorkPoolUpdate

    root = toy(SLOW)
    names = {
        "$TOY": str(root.parent),
        "$HOUSE": str(ROOT),
        "$PROGRAM": "exec(open('tracks.py').read())",
    }
    (root / "dvc.yaml").write_text(
        functools.reduce(lambda text, name: text.replace(*name), names.items(), SLOW)
    )
    (root / "tracks.py").write_text(TRACKS)
    (root / ".gitignore").write_text("/a.txt\n/c.txt\n")
    sh("git add -A && git -c user.name=t -c user.email=t@t commit -qm t", root)
    for pool in ("cpu", "gpu"):
        services.client.update_work_pool(pool, WorkPoolUpdate(concurrency_limit=4))
    runs = [
        services.submit("curate", targets=[], root=str(root)),
        services.submit("download", targets=["a"], root=str(root), force=True),
    ]
    copied = services.submit("pretrain", recipes=[], root=str(root), overrides=["n=7"])
    states = [services.ended(run).state for run in [*runs, copied]]
    assert [state.type.value for state in states] == ["COMPLETED"] * 3
    ones = [line for line in (root.parent / "ran").read_text().splitlines() if line.endswith("1")]
    assert ones in (["begin 1", "end 1"] * 2, ["begin 1", "end 1"]), "one after the other"
    assert (root / "a.txt").read_text() == "1\n"
    assert (root / "b.txt").read_text() == "1\n1\n"
    assert "up to date" in sh("dvc status", root, **services.env)
    (name,) = sh("dvc exp list --name-only", root, **services.env).split()
    assert str(copied)[:8] in name
    assert (
        sh(
            f"git show $(git for-each-ref --format='%(refname)' refs/exps | grep {name}):b.txt",
            root,
        )
        == "7\n7\n"
    )
    assert not list((root / ".dvc" / "tmp" / "exps").glob("flow-*"))
    for run in (runs[0], copied):
        link = services.artifacts(run)["mlflow"].split("](")[1].rstrip(")")
        assert link.startswith(f"http://127.0.0.1:{services.mlflow_port}/#/experiments/")
        address = f"http://127.0.0.1:{services.mlflow_port}/api/2.0/mlflow/runs/get"
        seen = httpx.get(address, params={"run_id": link.rsplit("/", 1)[1]}).json()["run"]
        assert {"key": "flow.run", "value": str(run)} in seen["data"]["tags"]


def test_a_scheduled_run_completes_the_dag(services, whole):
    run = services.ended(whole)
    assert run.state.type.value == "COMPLETED", "\n".join(services.log(run.id)[-40:])
    found = services.artifacts(run.id)
    outcomes = [(row["stage"], row["outcome"]) for row in json.loads(found["stages"])]
    assert outcomes == [*STAGES.items()]
    assert f"| recipes.{RECIPE}.shapes.miou |" in found["metrics"]
    assert found["validation"].startswith("**passed**")
    assert RECIPE in found["comparison"]
    assert str(services.checkout / "reports" / "comparison.html") in found["comparison"]
    assert "](data:image/jpeg;base64," in found["overlays"]
    assert "up to date" in sh("dvc status", services.checkout, **services.env)


KILLED = WAITS.replace("outs: [a.txt]", "metrics: [a.txt: {cache: false}]")


def stage_of(root: Path) -> psutil.Process:
    """The process of the stage of WAITS, as soon as it works."""
    child = root.parent / "child"
    until(lambda: child.exists() and child.read_text().strip(), "the stage starts")
    return psutil.Process(int(child.read_text()))


def test_a_run_ends_with_its_worker_and_its_reports_are_as_before(services, whole, toy):
    """SIGKILL: nobody tells the run, and a stage that says nothing would go on."""
    services.ended(whole)
    root = toy(KILLED)
    (root / "a.txt").write_text("of the run before\n")
    sh("git add -f a.txt && git -c user.name=t -c user.email=t@t commit -qm t", root)
    run = services.submit("curate", targets=[], root=str(root), force=True)
    stage = stage_of(root)
    assert not (root / "a.txt").exists(), "DVC deletes what a stage writes"
    psutil.Process(daemons.list_running(services.folder)["worker-cpu"].pid).kill()
    assert services.ended(run).state.type.value == "CRASHED"
    until(lambda: gone(stage), "the stage ends")
    until(lambda: sh("git status --short -- a.txt", root) == "", "its report is there again")


def test_another_start_heals_what_was_killed_and_two_starts_are_one(services, whole, toy):
    """Servers whose children hold the ports, a worker that is gone, and runs that nobody has any
    more.
    """
    from prefect.client.schemas.actions import WorkPoolUpdate

    services.ended(whole)
    services.client.update_work_pool("cpu", WorkPoolUpdate(concurrency_limit=1))
    services("start")  # the worker that the last test has killed
    root, before = toy(WAITS), daemons.list_running(services.folder)
    run = services.submit("curate", targets=[], root=str(root))
    stage = stage_of(root)
    late = services.submit("curate", targets=["nope"], root=str(root))
    for name, process in daemons.list_marked(services.folder):
        if name == "worker-cpu" or process.pid in (before["prefect"].pid, before["mlflow"].pid):
            process.kill()
    until(
        lambda: daemons.list_running(services.folder).keys() == {"worker-gpu"} and gone(stage),
        "they are gone",
    )
    assert not module.is_free("127.0.0.1", services.mlflow_port), (
        "a child of MLflow's server holds its port"
    )
    assert services("status").count("ended; `make services` restarts it") == 3
    starts = [threading.Thread(target=services, args=("start",)) for _ in range(2)]
    for one in starts:
        one.start()
    for one in starts:
        one.join()
    after = daemons.list_running(services.folder)
    assert after.keys() == before.keys()
    assert [name for name in before if after[name].pid == before[name].pid] == ["worker-gpu"]
    workers = [
        p
        for _, p in daemons.list_marked(services.folder)
        if "worker start" in " ".join(p.cmdline())
    ]
    assert {p.pid for p in workers} == {
        daemon.pid for name, daemon in after.items() if name.startswith("worker")
    }
    assert services.ended(run).state.type.value == "CRASHED"
    assert services.ended(late).state.type.value == "FAILED", (
        "it had waited for the place of the one that was lost"
    )


def test_stop_leaves_nothing_and_no_run_keeps_its_place(services, whole, toy):
    services.ended(whole)
    root = toy(WAITS)
    run = services.submit("curate", targets=[], root=str(root))
    stage = stage_of(root)
    late = services.submit("curate", targets=[], root=str(root))
    shutil.rmtree(services.folder / "run")  # as if the starter had died before it could write them
    assert daemons.list_marked(services.folder)
    said = services("stop")
    assert re.fullmatch(r"ended \d+ processes\n", said.splitlines(keepends=True)[-1])
    assert daemons.list_marked(services.folder) == []
    assert gone(stage)
    assert all(
        module.is_free("127.0.0.1", port) for port in (services.prefect_port, services.mlflow_port)
    )
    with contextlib.closing(
        sqlite3.connect(services.folder / "prefect" / "prefect.db")
    ) as database:
        states = dict(database.execute("SELECT id, state_type FROM flow_run"))
    assert states[str(run)] == "CRASHED"
    assert states[str(late)] == "SCHEDULED", "no worker took another run meanwhile"
    assert not {*states.values()} & {"RUNNING", "PENDING", "CANCELLING"}
