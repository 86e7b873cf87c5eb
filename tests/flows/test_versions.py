"""What breaks Prefect without a word: versions that its own requirements allow.

FastAPI 0.156 and later stop every server; SQLAlchemy 2.1 stops the scheduler alone, so deployments
with a schedule are accepted, run by hand, and never start by themselves.
"""

import asyncio
import os
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"]["stages"]
    return {pin.name: pin.specifier for pin in map(Requirement, lines)}


@pytest.mark.parametrize("name", ["prefect", "fastapi", "sqlalchemy", "mlflow", "dvc"])
def test_what_is_installed_is_what_is_pinned(pins, name):
    assert pins[name].contains(version(name))


@pytest.mark.parametrize(
    ("name", "broken"), [("fastapi", "0.156.8"), ("fastapi", "0.165.0"), ("sqlalchemy", "2.1.0")]
)
def test_versions_known_to_break_prefect_are_excluded(pins, name, broken):
    assert not pins[name].contains(broken)


def test_a_cron_deployment_is_scheduled(server):
    """The scheduler's own code on the server's own database: a run is there, in the future, at the
    hour.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.server.services.scheduler import schedule_deployments

    from flows.reproduce import reproduce

    nightly = DeploymentScheduleCreate(
        schedule=CronSchedule(cron="0 3 * * *", timezone="UTC"), active=True
    )
    with get_client(sync_client=True) as client:
        made = client.create_deployment(
            client.create_flow(reproduce), "nightly", schedules=[nightly]
        )
        where = DeploymentFilter(id=DeploymentFilterId(any_=[made]))
        assert client.read_flow_runs(deployment_filter=where) == [], (
            "the test server runs no scheduler"
        )
        asyncio.run(schedule_deployments())
        runs = client.read_flow_runs(deployment_filter=where)
    assert runs
    assert {run.state.type.value for run in runs} == {"SCHEDULED"}
    first = min(run.expected_start_time for run in runs)
    assert (first.hour, first.minute) == (3, 0)
    assert timedelta(0) < first - datetime.now(UTC) <= timedelta(days=1)


def test_importing_flows_turns_telemetry_off():
    environ = {
        k: v
        for k, v in os.environ.items()
        if k not in ("DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED")
    }
    program = (
        "import flows, os, sys; assert 'prefect' not in sys.modules\n"
        "assert os.environ['DO_NOT_TRACK'] == '1'\n"
        "import prefect\n"
        "assert not prefect.settings.PREFECT_SERVER_ANALYTICS_ENABLED.value()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, check=True)
