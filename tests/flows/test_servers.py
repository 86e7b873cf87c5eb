"""The real servers and workers, started by the module that users start them by, in a checkout that is set to shapes.

The whole DAG runs on the pool `gpu` from the beginning; meanwhile other runs work in small repositories on `cpu`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
import yaml
from filelock import FileLock

from flows import daemons
from flows import services as module
from flows.workspace import LOCK

ROOT = Path(__file__).parents[2]
RECIPE = "nouns-mil"
STAGES = ["download", "caption", "index", "regions", "curate", "segment_text", "validate", f"pretrain@{RECIPE}",
          f"evaluate@{RECIPE}", "report", "compare"]  # fmt: skip
FOREIGN = ("PREFECT_", "MLFLOW_", "DVC_", "GIT_", "CAPTIONSEG_")


def until(what: Callable[[], Any], why: str, seconds: float = 240) -> Any:
    """What `what` returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"after {seconds} s not yet: {why}"
        time.sleep(0.2)
    return found


def ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def sh(command: str, cwd: Path, **env: str) -> str:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    environ |= {"DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, shell=True, cwd=cwd, env=environ | env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


class Services:
    """Servers and workers of a checkout, and what a user does with them."""

    def __init__(self, checkout: Path, site: Path) -> None:
        from prefect.client.orchestration import SyncPrefectClient

        self.checkout, self.folder = checkout, checkout / ".services"
        self.prefect_port, self.mlflow_port = ports(2)
        self.env = {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "DVC_SITE_CACHE_DIR": str(site),
                    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5", "PREFECT_WORKER_QUERY_SECONDS": "2",
                    "CAPTIONSEG_TRACKING": "off"}  # fmt: skip
        self.said = self("start")
        self.client = SyncPrefectClient(f"http://127.0.0.1:{self.prefect_port}/api")

    def __call__(self, command: str) -> str:
        where = f"--prefect-port {self.prefect_port} --mlflow-port {self.mlflow_port}"
        return sh(f"{sys.executable} -m flows.services {command} {where}", self.checkout, **self.env)

    def submit(self, deployment: str, **parameters: Any) -> UUID:
        found = self.client.read_deployment_by_name(f"reproduce/{deployment}")
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters).id

    def ended(self, run: UUID) -> Any:
        """The run, when it has ended."""

        def look() -> Any:
            found = self.client.read_flow_run(run)
            return found if found.state and found.state.is_final() else None

        return until(look, f"run {run} ends; {self.log(run)[-5:]}")

    def log(self, run: UUID) -> list[str]:
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        return [line.message for line in self.client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))]

    def artifacts(self, run: UUID) -> dict[str, str]:
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        of = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        return {artifact.key: artifact.data for artifact in self.client.read_artifacts(artifact_filter=of)}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("services")
    checkout = folder / "captionseg"
    for name in sh("git ls-files", ROOT).split("\n"):
        made = name.startswith("reports/") and Path(name).name != "README.md"
        if name and not made and not name.startswith(("dvc.lock", "tests/")) and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    params = yaml.safe_load((checkout / "params.yaml").read_text())
    params["download"] |= {"source": "shapes", "shapes": {"train": 60, "tune": 8, "test": 8}, "workers": 1}
    params["index"] |= {"neighbours": 16, "dense_width": 32, "dense_sample": 20}
    params["index"]["alignment"] |= {"folds": 2, "epochs": 2}
    params["curate"] |= {"rules": ["nouns"], "vocabulary": {"minimum": 3}}
    params["pretrain"] |= {"seeds": [0], "epochs": 1, "batch": 32}
    params["evaluate"]["bootstrap"] = 10
    params |= {"recipes": {RECIPE: params["recipes"][RECIPE]}, "gate": {}, "segment_text": {"curation": "nouns"},
               "validate": {"min_with_concepts": 0.3}}  # fmt: skip
    (checkout / "params.yaml").write_text(yaml.safe_dump(params))
    sh("git init -q && git add -A && git -c user.name=t -c user.email=t@t commit -qm t", checkout)
    made = None
    try:
        made = Services(checkout, folder / "site")
        yield made
    finally:
        if made:
            made.client._client.close()
        daemons.stop(checkout / ".services", last=lambda name: False, grace=5)


@pytest.fixture(scope="module")
def whole(services: Services) -> UUID:
    """The run that `nightly` starts by a second schedule, in a few seconds, while the tests go on."""
    from prefect.client.schemas.schedules import IntervalSchedule

    nightly = services.client.read_deployment_by_name("reproduce/nightly")
    end = time.monotonic() + 240
    while time.monotonic() < end:
        soon = datetime.now(UTC) + timedelta(seconds=20)
        daily = IntervalSchedule(interval=timedelta(days=1), anchor_date=soon)
        services.client.create_deployment_schedules(nightly.id, [(daily, True)])
        while datetime.now(UTC) < soon:  # a scheduler that comes later makes tomorrow's run: once more
            for run in runs_of(services, nightly.id):
                if run.auto_scheduled and abs(run.expected_start_time - soon) < timedelta(seconds=2):
                    assert run.state.type.value == "SCHEDULED"
                    return run.id
            time.sleep(0.2)
    raise AssertionError("the scheduler makes no run")


def runs_of(services: Services, deployment: UUID) -> list[Any]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    return services.client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])))


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
    running = daemons.running(services.folder)
    assert running.keys() > {"prefect", "mlflow", "worker-cpu"}
    again = services("start")
    assert daemons.running(services.folder) == running
    assert all(f"pid {daemon.pid}" in again for daemon in running.values())
    assert {pool.name for pool in services.client.read_work_pools()} == {"cpu", "gpu"}


def test_a_cron_deployment_is_scheduled(services):
    nightly = services.client.read_deployment_by_name("reproduce/nightly")

    def look() -> list[Any]:
        return [run for run in runs_of(services, nightly.id) if run.expected_start_time.hour == 2]

    runs = until(look, "the scheduler makes runs at two o'clock")
    assert {run.state.type.value for run in runs if run.expected_start_time > datetime.now(UTC)} == {"SCHEDULED"}


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
    assert run.state.type.value == "FAILED"
    assert (root.parent / "tried").read_text().split() == ["tried", "tried"]
    for text in (run.state.message, services.artifacts(run.id)["failure"]):
        assert "stage 'b' failed with exit code 4: no pairs in shard 7" in text
        assert "\nshard 6 is there\nno pairs in shard 7\n" in text
    assert "no pairs in shard 7" in services.log(run.id), "stages' output is in the run's log"
    outcomes = {row["stage"]: row["outcome"] for row in json.loads(services.artifacts(run.id)["stages"])}
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
    until(lambda: not psutil.pid_exists(int(child.read_text())), "the stage's child is gone", 30)
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
from captionseg import tracking
with tracking.start("tracked", None, root=Path()) as tracker:
    tracker.metrics({"x": 2})
"""


def test_two_runs_at_once_do_not_meet(services, toy):
    """Two want the workspace and queue; a third has overrides, and works beside them in a copy."""
    from prefect.client.schemas.actions import WorkPoolUpdate

    root = toy(SLOW)
    names = {"$TOY": str(root.parent), "$HOUSE": str(ROOT), "$PROGRAM": "exec(open('tracks.py').read())"}
    (root / "dvc.yaml").write_text(functools.reduce(lambda text, name: text.replace(*name), names.items(), SLOW))
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
    assert sh(f"git show $(git for-each-ref --format='%(refname)' refs/exps | grep {name}):b.txt", root) == "7\n7\n"
    assert not list((root / ".dvc" / "tmp" / "exps").glob("flow-*"))
    for run in (runs[0], copied):
        link = services.artifacts(run)["mlflow"].split("](")[1].rstrip(")")
        assert link.startswith(f"http://127.0.0.1:{services.mlflow_port}/#/experiments/")
        address = f"http://127.0.0.1:{services.mlflow_port}/api/2.0/mlflow/runs/get"
        seen = httpx.get(address, params={"run_id": link.rsplit("/", 1)[1]}).json()["run"]
        assert {"key": "flow.run", "value": str(run)} in seen["data"]["tags"]


def test_a_scheduled_run_completes_the_dag(services, whole):
    run = services.ended(whole)
    assert run.state.type.value == "COMPLETED", services.log(run.id)[-40:]
    found = services.artifacts(run.id)
    assert [(row["stage"], row["outcome"]) for row in json.loads(found["stages"])] == [(s, "ran") for s in STAGES]
    assert f"| recipes.{RECIPE}.photo_scenes.miou |" in found["metrics"]
    assert found["validation"].startswith("**passed**")
    assert RECIPE in found["comparison"]
    assert str(services.checkout / "reports" / "comparison.html") in found["comparison"]
    assert "](data:image/jpeg;base64," in found["overlays"]
    assert "up to date" in sh("dvc status", services.checkout, **services.env)


def test_stop_leaves_nothing_though_a_run_is_under_way(services, whole, toy):
    services.ended(whole)
    root = toy(WAITS)
    services.submit("curate", targets=[], root=str(root))
    child = root.parent / "child"
    until(lambda: child.exists() and child.read_text().strip(), "the stage starts")
    shutil.rmtree(services.folder / "run")  # as if the starter had died before it could write them
    assert daemons.marked(services.folder)
    said = services("stop")
    assert said.endswith("processes ended\n")
    assert daemons.marked(services.folder) == []
    assert not psutil.pid_exists(int(child.read_text()))
    assert all(module.free("127.0.0.1", port) for port in (services.prefect_port, services.mlflow_port))
