"""Commands of the servers and workers; starts them and waits until they answer."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import httpx

from flows import daemons
from flows.daemons import Daemon
from flows.places import FOLDER, ROOT, Places, build_environment, read_identity

POOLS = ("cpu", "gpu")
PATIENCE = 600.0  # seconds for a service to answer: it takes three minutes on a busy machine


class ServiceError(Exception):
    """A service does not start; one line, or the last lines of its log."""


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, flush=True)


def count_gpus() -> int:
    """Count the GPUs of this machine with nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return 0
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return (
        len([line for line in done.stdout.splitlines() if line.startswith("GPU ")])
        if done.returncode == 0
        else 0
    )


def build_mlflow_command(places: Places, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command of the MLflow server. Artifacts are files on this machine, unless
    MLFLOW_ARTIFACTS_DESTINATION is set.

    Runs on this machine write them directly, like `dvc repro` without a server; runs on other
    machines send them to the server.
    """
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--workers",
        "1",
        "--host",
        places.host,
        "--port",
        str(places.mlflow_port),
    ]
    if "MLFLOW_BACKEND_STORE_URI" not in environ:
        command += ["--backend-store-uri", f"sqlite:///{ROOT / 'mlflow.db'}"]
    if "MLFLOW_ARTIFACTS_DESTINATION" not in environ:
        option = (
            "--default-artifact-root" if places.host == Places.host else "--artifacts-destination"
        )
        command += [option, (ROOT / "mlruns").as_uri()]
    return command


def name_workers(pools: Sequence[str]) -> list[str]:
    """Return the names of the workers of these pools."""
    return [name for pool in pools for name in list_workers(pool)]


def start_servers(places: Places, running: Mapping[str, Daemon]) -> None:
    """Start both servers at once and wait until both answer."""
    env = build_environment(places)
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--host", places.host, "--port"]
    servers = {
        "prefect": ([*prefect, str(places.prefect_port)], places.prefect, "/api/health"),
        "mlflow": (build_mlflow_command(places), places.mlflow, "/health"),
    }
    made = {
        name: running.get(name)
        or daemons.launch(name, command, folder=FOLDER, cwd=ROOT, env=env, url=url)
        for name, (command, url, _) in servers.items()
    }
    for name, daemon in made.items():
        wait(daemon, daemon.url + servers[name][2])


def start_workers(places: Places, pools: Sequence[str], running: Mapping[str, Daemon]) -> None:
    """Create work pools and deployments, and start the missing workers."""
    env = build_environment(places)
    deploy(env)
    for pool in pools:
        for name, (command, more) in list_workers(pool).items():
            if name not in running:
                daemon = daemons.launch(name, command, folder=FOLDER, cwd=ROOT, env={**env, **more})
                say(f"{name:<14} log {daemon.log}")


def list_workers(pool: str) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return name -> command and environment of a pool's workers on this machine; for `gpu` one per
    GPU, which sees only its GPU.

    Without a GPU one worker still serves `gpu`: its stages run on the CPU instead of waiting
    forever.
    """
    host, count = socket.gethostname(), count_gpus() if pool == "gpu" else 0
    suffix = read_identity(FOLDER)

    def command(name: str, *options: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "prefect",
            "worker",
            "start",
            "--pool",
            pool,
            "--type",
            "process",
            "--name",
            f"{host} {name} {suffix}",
            *options,
        ]

    if not count:
        return {f"worker-{pool}": (command(f"worker-{pool}"), {})}
    return {
        f"worker-{pool}-{i}": (
            command(f"worker-{pool}-{i}", "--limit", "1"),
            {"CUDA_VISIBLE_DEVICES": str(i)},
        )
        for i in range(count)
    }


def deploy(env: Mapping[str, str]) -> None:
    """Create or update the work pools and the deployments of prefect.yaml.

    Raises:
        ServiceError: a command fails.
    """
    for command in (
        [sys.executable, "-m", "flows.pools"],
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
    ):
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            output = (done.stdout + done.stderr).strip().splitlines()[-10:]
            raise ServiceError("\n".join([f"`{' '.join(command[2:])}` failed:", *output]))
    say("deployments of prefect.yaml are up to date")


def wait(daemon: Daemon, health: str) -> None:
    """Wait until a service answers.

    Raises:
        ServiceError: it ended, or does not answer in time.
    """
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(health, timeout=5, trust_env=False).status_code == 200:
                say(f"{daemon.name:<14} {daemon.url}   log {daemon.log}")
                return
        if not daemon.alive:
            raise ServiceError(
                f"{daemon.name} ended, see {daemon.log}\n{daemons.read_tail(daemon)}"
            )
        if sys.stderr.isatty():
            print(f"{daemon.name:<14} {time.monotonic() - begun:.0f} s", end="\r", file=sys.stderr)
        time.sleep(0.2)
    raise ServiceError(f"{daemon.name} did not answer within {PATIENCE:.0f} s, see {daemon.log}")
