import os
import socket
from pathlib import Path

import pytest

from flows import daemons
from flows import services as module

ROOT = Path(__file__).parents[2]


def test_a_port_in_use_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert module.main(["start", "--prefect-port", str(port)]) == 1
    said = f"error: port {port} is in use by another program (pid {os.getpid()}: "
    found = capsys.readouterr().err
    assert found.startswith(said)
    assert found.endswith("): choose one by --prefect-port\n")


def test_servers_that_run_stay_where_they_are():
    running = {"prefect": daemons.Daemon("prefect", 1, 0.0, "http://127.0.0.1:4201", ""),
               "worker-cpu": daemons.Daemon("worker-cpu", 2, 0.0, "", "")}  # fmt: skip
    assert module.Places(mlflow_port=5001).beside(running) == module.Places("127.0.0.1", 4201, 5001)
    assert module.Places().beside({}) == module.Places()
    team = {"mlflow": daemons.Daemon("mlflow", 1, 0.0, "http://10.0.0.5:5001", "")}
    assert module.Places().beside(team) == module.Places("10.0.0.5", 4200, 5001), "Prefect's has died: the same host"


def test_files_of_runs_go_where_the_server_is_told(monkeypatch):
    here, team = module.mlflow_command(module.Places(), {}), module.mlflow_command(module.Places("10.0.0.5"), {})
    assert here[-4:] == ["--backend-store-uri", f"sqlite:///{ROOT}/mlflow.db", "--default-artifact-root",
                         (ROOT / "mlruns").as_uri()]  # fmt: skip
    assert team[-2] == "--artifacts-destination", "others have no such folder"
    elsewhere = {"MLFLOW_BACKEND_STORE_URI": "postgresql://db/x", "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket"}
    assert not {"--backend-store-uri", "--default-artifact-root"} & {*module.mlflow_command(module.Places(), elsewhere)}


@pytest.mark.parametrize(("count", "names"), [(0, ["worker-gpu"]), (2, ["worker-gpu-0", "worker-gpu-1"])])
def test_each_gpu_has_a_worker_that_sees_no_other(monkeypatch, count, names):
    monkeypatch.setattr(module, "gpus", lambda: count)
    found = module.workers("gpu")
    assert [*found] == names
    seen = [environ.get("CUDA_VISIBLE_DEVICES") for _, environ in found.values()]
    assert seen == ([None] if not count else ["0", "1"])
    assert [*module.workers("cpu")] == ["worker-cpu"]
