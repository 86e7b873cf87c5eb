"""prefect.yaml against what it names: flows, their parameters, stages and recipes, pools, times."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from flows.launching import POOLS
from flows.plan import read

ROOT = Path(__file__).parents[2]
FILE = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS = {one["name"]: one for one in FILE["deployments"]}
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.fixture(scope="module")
def stages():
    return {stage.name for stage in read(ROOT)}


def flow_of(deployment):
    path, _, name = deployment["entrypoint"].partition(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)


def test_there_is_one_for_each_purpose():
    assert DEPLOYMENTS.keys() == {"nightly", "curate", "pretrain", "benchmark", "download"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_parameters_are_of_the_flow_and_name_what_there_is(name, stages):
    deployment = DEPLOYMENTS[name]
    parameters = deployment.get("parameters", {})
    flow_of(deployment).validate_parameters(parameters)
    assert parameters.keys() <= inspect.signature(flow_of(deployment).fn).parameters.keys()
    assert set(parameters.get("targets", [])) <= stages | {stage.split("@")[0] for stage in stages}
    assert set(parameters.get("recipes", [])) <= PARAMS["recipes"].keys()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pools_are_there_and_those_that_train_have_gpus(name):
    deployment = DEPLOYMENTS[name]
    assert deployment["work_pool"]["name"] in POOLS
    asked = deployment.get("parameters", {})
    targets = [
        *asked.get("targets", []),
        *(f"evaluate@{recipe}" for recipe in asked.get("recipes", [])),
    ]
    after = ("pretrain", "evaluate", "report", "compare")  # these and what needs them
    trains = not targets or any(target.split("@")[0] in after for target in targets)
    assert (deployment["work_pool"]["name"] == "gpu") == trains


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_runs_of_the_workspace_queue(name):
    deployment = DEPLOYMENTS[name]
    if "workspace" in deployment["tags"]:
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    for schedule in deployment.get("schedules", []):
        assert schedule.keys() == {"slug", "cron", "timezone"}
        assert "workspace" in deployment["tags"]


def test_nothing_is_entered_twice():
    """Retries, time-outs and the rest of meta.prefect stand in dvc.yaml, and values of params in
    params.yaml.
    """
    text = (ROOT / "prefect.yaml").read_text()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert not [word for word in ("retries", "timeout", "retry_delay") if word in body]
    assert FILE["pull"] == [{"flows.workspace.enter": {}}]


def test_the_pull_step_goes_to_the_checkout(monkeypatch, tmp_path):
    from flows.workspace import enter

    monkeypatch.chdir(tmp_path)
    assert enter() == {"directory": str(ROOT)}
    assert Path.cwd() == ROOT
