"""Whose run is lost, and what becomes of it on a real server; processes are those of the test."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from flows import daemons, runs
from flows.runs import RUN, WORKER, Workers

NOW = datetime.now(UTC)  # ages are hours: the tests may run long after their collection


def run(label: str = "", pool: str | None = "cpu", age: float = 0) -> dict:
    since = (NOW - timedelta(seconds=age)).isoformat()
    return {
        "work_pool_name": pool,
        "labels": {WORKER: label} if label else {},
        "state": {"timestamp": since},
    }


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        (run("host worker-cpu c0ffee"), True),
        (run("its.name.before worker-cpu c0ffee"), True),
        (run("host worker-gpu c0ffee"), False),  # that one works
        (run("other worker-cpu 123456"), False),
        (run("ProcessWorker 7f"), False),
        (run("host worker-cpu c0ffee", pool=None), False),  # by hand
        (run(age=-3600), False),  # a worker is just taking it
        (run(age=3600), True),
    ],
)
def test_a_run_is_lost_with_its_worker_whatever_the_host_is_called(found, lost):
    assert Workers("c0ffee", ["worker-gpu"], alone=True).lost(found) == lost


def test_without_any_worker_a_run_that_was_just_taken_is_lost_where_no_other_machine_may_have_it():
    assert Workers("c0ffee", [], alone=True).lost(run(age=-3600))
    assert not Workers("c0ffee", [], alone=False).lost(run(age=-3600))


def test_lost_runs_are_set_to_crashed_and_those_with_a_process_stay(server, tmp_path):
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL
    from prefect.states import Cancelling, Pending, Running, Scheduled

    pool = f"pool-{uuid.uuid4().hex[:6]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template={}))

        def made(state, worker="host worker-cpu c0ffee"):
            found = client.create_flow_run(
                flow(lambda: None, name="f"), state=Scheduled(), work_pool_name=pool
            )
            # else nothing to cancel
            client._client.patch(f"/flow_runs/{found.id}", json={"infrastructure_pid": "1"})
            client.set_flow_run_state(found.id, state, force=True)
            if worker:
                client._client.patch(f"/flow_runs/{found.id}/labels", json={WORKER: worker})
            return str(found.id)

        api = runs.Api(str(PREFECT_API_URL.value()))
        lost = [made(state) for state in (Running(), Cancelling(), Pending())] + [
            made(Pending(), worker="")
        ]
        stay = [made(Running(), "other worker-cpu 123456"), made(Scheduled())]
        alive = made(Running())
        process = daemons.launch(
            "worker-cpu", ["sleep", "60"], folder=tmp_path, cwd=tmp_path, env={RUN: alive}
        )
        said = runs.heal(api, tmp_path, Workers("c0ffee", [], alone=True))
        states = {key: client.read_flow_run(key).state for key in (*lost, *stay, alive)}
    assert [states[key].type.value for key in lost] == ["CRASHED"] * 4
    assert [states[key].type.value for key in (*stay, alive)] == ["RUNNING", "SCHEDULED", "RUNNING"]
    assert states[lost[1]].message.startswith("It was Cancelling, ")
    assert (
        len([line for line in said if line.endswith("but its process is gone: set to Crashed")])
        == 4
    )
    assert runs.list_processes(tmp_path).keys() == {alive}
    assert runs.end(tmp_path) == 1
    assert not process.alive


def test_a_password_of_the_server_is_sent():
    assert runs.Api("http://x/api/", {"PREFECT_SERVER_API_AUTH_STRING": "me:se:cret"}).auth == (
        "me",
        "se:cret",
    )
    assert runs.Api("http://x/api", {}).auth is None
