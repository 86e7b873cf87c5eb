"""The same through a server: runs, data sets, artifacts, registry and alias, by the real writer;
then without it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from captionseg import cli
from captionseg.tracking.environment import ENVIRONMENT
from captionseg.tracking.registry import NAME
from captionseg.tracking.tracker import start


@pytest.fixture
def server(root, schema):
    """URI of a tracking server of this test's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (root / "server").mkdir()
    (root / "mlflow.db").rename(root / "server" / "mlflow.db")
    environ = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mlflow",
        "server",
        "--workers",
        "1",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--backend-store-uri",
        f"sqlite:///{root}/server/mlflow.db",
        "--artifacts-destination",
        str(root / "server" / "artifacts"),
    ]
    with (root / "server" / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environ, stdout=log, stderr=log, start_new_session=True
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(3000):
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (root / "server" / "log").read_text()[-2000:]
                time.sleep(0.1)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(240)


def test_a_reproduction_through_a_server(server, root, left, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("CAPTIONSEG_FLOW_RUN", "served")
    monkeypatch.setenv("DVC_STAGE", "report")
    monkeypatch.chdir(root)
    lock = (
        "stages: {download: {outs: [{path: pairs, md5: 0123456789abcdef0123456789abcdef.dir, "
        "size: 1, nfiles: 1}]}}"
    )
    (root / "dvc.lock").write_text(lock)
    said = left({"a": (30.0, 10.0), "b": (20.0, 40.0)})
    folders = {name: root / name for name in ("models", "areas", "pairs", "pictures")}
    with start("report", None, root=root) as tracker:
        tracker.inputs({"pairs": Path("pairs")})
        tracker.summary({"recipes": {"a": {"miou": 10.0}}}, [root / "pictures"])
        tracker.recipes(said["numbers"], said["labels"], benchmark="shapes", folders=folders)
    assert "registry: captionseg: version 1, a, is champion" in capfd.readouterr().err
    assert not (root / "mlruns").exists()
    assert not (root / "mlflow.db").exists()

    from mlflow.artifacts import download_artifacts
    from mlflow.tracking import MlflowClient

    client = MlflowClient(server)
    version = client.get_model_version_by_alias(NAME, "champion")
    run = client.get_run(version.run_id)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert [file.path for file in client.list_artifacts(version.run_id, "pictures")] == [
        "pictures/scene_1.jpg"
    ]
    experiment = client.get_experiment_by_name("captionseg").experiment_id
    report = client.search_runs([experiment], "tags.stage = 'report'")[0]
    assert [one.dataset.digest for one in report.inputs.dataset_inputs] == [
        "0123456789abcdef0123456789abcdef.dir"
    ]
    assert "system/cpu_utilization_percentage" in report.data.metrics
    download_artifacts(f"models:/{NAME}@champion", dst_path=str(root / "copy"), tracking_uri=server)
    assert (root / "copy" / "data" / "a" / "model.safetensors").read_bytes() == b"a"
    assert (root / "copy" / "code" / "captionseg" / "inference" / "predictor.py").exists()
    assert cli.main(["compare", "latest/a", "champion", "--all"]) == 0
    assert "miou" in capfd.readouterr().out


def test_a_server_that_is_down_is_one_line_and_the_stage_goes_on(root, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with start("index", None, root=root) as tracker:
        tracker.metrics({"a": 1.0})
        tracker.inputs({})
    said = capfd.readouterr().err
    assert said.startswith("warning: tracking: ")
    assert said.count("\n") == 1
