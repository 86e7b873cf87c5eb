import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows import daemons, launching, places, ports, without_proxy
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
    assert found.endswith("); choose another with --prefect-port\n")


def test_servers_that_run_stay_where_they_are():
    running = {
        "prefect": daemons.Daemon("prefect", 1, 0.0, "http://127.0.0.1:4201", ""),
        "worker-cpu": daemons.Daemon("worker-cpu", 2, 0.0, "", ""),
    }
    assert module.Places(mlflow_port=5001).follow_daemons(running) == module.Places(
        "127.0.0.1", 4201, 5001
    )
    assert module.Places().follow_daemons({}) == module.Places()
    team = {"mlflow": daemons.Daemon("mlflow", 1, 0.0, "http://10.0.0.5:5001", "")}
    assert module.Places().follow_daemons(team) == module.Places("10.0.0.5", 4200, 5001), (
        "Prefect's has died: the same host"
    )


def test_files_of_runs_go_where_the_server_is_told(monkeypatch):
    here, team = (
        launching.build_mlflow_command(module.Places(), {}),
        launching.build_mlflow_command(module.Places("10.0.0.5"), {}),
    )
    assert here[-4:] == [
        "--backend-store-uri",
        f"sqlite:///{ROOT}/mlflow.db",
        "--default-artifact-root",
        (ROOT / "mlruns").as_uri(),
    ]
    assert team[-2] == "--artifacts-destination", "others have no such folder"
    elsewhere = {
        "MLFLOW_BACKEND_STORE_URI": "postgresql://db/x",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket",
    }
    assert not {"--backend-store-uri", "--default-artifact-root"} & {
        *launching.build_mlflow_command(module.Places(), elsewhere)
    }


@pytest.mark.parametrize(
    ("count", "names"), [(0, ["worker-gpu"]), (2, ["worker-gpu-0", "worker-gpu-1"])]
)
def test_each_gpu_has_a_worker_that_sees_no_other(monkeypatch, count, names):
    monkeypatch.setattr(launching, "count_gpus", lambda: count)
    found = launching.list_workers("gpu")
    assert [*found] == names
    seen = [environ.get("CUDA_VISIBLE_DEVICES") for _, environ in found.values()]
    assert seen == ([None] if not count else ["0", "1"])
    assert [*launching.list_workers("cpu")] == ["worker-cpu"]


def test_a_users_own_settings_lead_nowhere_else_and_those_of_servers_stay():
    theirs = {
        "PREFECT_PROFILE": "cloud",
        "PREFECT_API_URL": "https://api.prefect.cloud/x",
        "PREFECT_API_KEY": "secret",
        "MLFLOW_TRACKING_URI": "databricks",
        "MLFLOW_REGISTRY_URI": "databricks",
        "MLFLOW_RUN_ID": "abc",
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://db/x",
        "NO_PROXY": "corp.example",
        "HTTP_PROXY": "http://proxy:3128",
        "PREFECT_HOME": "/home/me/.prefect",
    }
    found = places.build_environment(module.Places("10.0.0.5", 4201), theirs)
    assert found["PREFECT_API_URL"] == "http://10.0.0.5:4201/api"
    assert found["MLFLOW_TRACKING_URI"] == "http://10.0.0.5:5000"
    assert (
        not {"PREFECT_PROFILE", "PREFECT_API_KEY", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID"}
        & found.keys()
    )
    assert found["PREFECT_API_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://db/x"
    assert found["PREFECT_HOME"] == str(ROOT / ".services" / "prefect")
    for name in ("no_proxy", "NO_PROXY"):
        assert found[name] == "corp.example,127.0.0.1,localhost,::1,10.0.0.5"


def test_no_proxy_stands_between_a_flow_and_this_machine():
    """As httpx, requests and urllib read it, in a process that only imports flows."""
    program = (
        "import flows, os, urllib.request as u, httpx\nassert u.proxy_bypass('127.0.0.1:4200') "
        "and u.proxy_bypass('localhost')\nassert not u.proxy_bypass('x.org')\nclient = "
        "httpx.Client()\nassert client._transport_for_url(httpx.URL('http://127.0.0.1:4200')) is "
        "client._transport\nassert client._transport_for_url(httpx.URL('http://x.org')) is not "
        "client._transport\n"
    )
    environ = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    environ |= {"http_proxy": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert without_proxy({"no_proxy": "*"})["NO_PROXY"] == "*"


def test_the_port_of_a_service_of_another_checkout_is_told_by_its_place(tmp_path):
    (tmp_path / "other").mkdir()
    program = (
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\ninput()"
    )
    folder = tmp_path / "other" / ".services"
    environ = {**os.environ, daemons.MARK: f"{daemons.describe_place(folder)}:mlflow:{folder}"}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    ) as other:
        port = int(other.stdout.readline())
        assert ports.describe_holder(port).endswith(f"a service started in {tmp_path / 'other'})")
        assert ports.list_listening(folder) == {port}
        assert ports.list_listening(tmp_path / ".services") == set()
        other.kill()
    assert ports.is_free("127.0.0.1", port)


def test_a_name_of_a_folder_that_databases_cannot_have_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "ROOT", Path("/home/me/why?"))
    assert module.main(["start"]) == 1
    said = "error: /home/me/why?: a database address cannot contain `?`; rename the folder\n"
    assert capsys.readouterr().err == said


def test_options_that_have_no_effect_are_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    runs = {
        "prefect": daemons.Daemon("prefect", 1, 0.0, "http://127.0.0.1:4201", ""),
        "mlflow": daemons.Daemon("mlflow", 1, 0.0, "http://127.0.0.1:5000", ""),
    }
    monkeypatch.setattr(module, "list_working", lambda: runs)
    monkeypatch.setattr(module.daemons, "list_running", lambda folder: runs)
    assert module.main(["start", "--pools", "--prefect-port", "4300", "--mlflow-port", "5000"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "--prefect-port 4300 is ignored: it stays 4201 while services run; run `make "
        "services-stop` first"
    )
    assert not [line for line in said if line.startswith("--mlflow-port")], "it is that already"
    assert module.main(["env"]) == 0
    assert "export PREFECT_API_URL=http://127.0.0.1:4201/api\n" in capsys.readouterr().out


def test_two_at_once_wait_for_each_other_and_say_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    order = []

    def end():
        order.append("begun")
        other = threading.Thread(target=module.main, args=(["stop"],))
        if len(order) == 1:
            other.start()
            while f"waiting: {tmp_path} is in use by stop (pid" not in capsys.readouterr().out:
                time.sleep(0.01)
            others.append(other)
        order.append("ended")
        return 0

    others = []
    monkeypatch.setattr(module, "end", end)
    assert module.main(["stop"]) == 0
    others[0].join()
    assert order == ["begun", "ended"] * 2
