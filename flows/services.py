"""A Prefect server, an MLflow server and workers on this machine, by one command.

    python -m flows.services start [--prefect-port 4200] [--mlflow-port 5000] [--pools cpu gpu]
    python -m flows.services status
    python -m flows.services stop

What they keep is in .services/ (Prefect's database, logs, pids) and in mlflow.db and mlruns/, where stages write
without a server too. Another database or another place for artifacts: the tools' own variables, which win over this:
PREFECT_API_DATABASE_CONNECTION_URL, MLFLOW_BACKEND_STORE_URI, MLFLOW_ARTIFACTS_DESTINATION.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from flows import daemons
from flows.daemons import Daemon

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".services"
POOLS = ("cpu", "gpu")
PATIENCE = 180.0  # seconds that a service may take to answer
QUIET = {
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else seven more processes, for jobs that nobody here has
    "DVC_NO_ANALYTICS": "1",
}


class ServiceError(Exception):
    """A service does not start. One line, or the last ones of its log."""


@dataclass(frozen=True)
class Places:
    """Where the services answer."""

    host: str = "127.0.0.1"
    prefect_port: int = 4200
    mlflow_port: int = 5000

    def beside(self, found: Mapping[str, Daemon]) -> Places:
        """These places, but those of servers that run where they are."""
        urls = {name: httpx.URL(daemon.url) for name, daemon in found.items() if daemon.url}
        ports = {f"{name}_port": url.port for name, url in urls.items()}
        host = next((url.host for url in urls.values()), self.host)  # one for both
        return dataclasses.replace(self, **ports, host=host)

    @property
    def prefect(self) -> str:
        return f"http://{self.host}:{self.prefect_port}"

    @property
    def mlflow(self) -> str:
        return f"http://{self.host}:{self.mlflow_port}"


def environment(places: Places, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What services and the runs of workers find in their environment."""
    ours = {
        "PREFECT_API_URL": f"{places.prefect}/api",
        "PREFECT_HOME": str(FOLDER / "prefect"),
        "MLFLOW_TRACKING_URI": places.mlflow,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), environ.get("PYTHONPATH")])),
    }
    return {**QUIET, **environ, **ours}


def gpus() -> int:
    """How many GPUs this machine has, by nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return 0
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return len([line for line in done.stdout.splitlines() if line.startswith("GPU ")]) if done.returncode == 0 else 0


def mlflow_command(places: Places, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The MLflow server. Files of runs are files of this machine, unless it is told where to send them.

    Runs of this machine write them where `dvc repro` does without a server; those of others send them to it.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", places.host,
               "--port", str(places.mlflow_port)]  # fmt: skip
    if "MLFLOW_BACKEND_STORE_URI" not in environ:
        command += ["--backend-store-uri", f"sqlite:///{ROOT / 'mlflow.db'}"]
    if "MLFLOW_ARTIFACTS_DESTINATION" not in environ:
        option = "--default-artifact-root" if places.host == Places.host else "--artifacts-destination"
        command += [option, (ROOT / "mlruns").as_uri()]
    return command


def start(places: Places, pools: Sequence[str] = POOLS) -> None:
    """Bring everything up that is not up, servers first, and wait until each answers.

    Raises:
        ServiceError: a port is taken, or something does not start; then all is stopped, unless something ran before.
    """
    found = daemons.running(FOLDER)
    for name, port in (("prefect", places.prefect_port), ("mlflow", places.mlflow_port)):
        if name not in found and not free(places.host, port):
            raise ServiceError(f"port {port} is in use by another program: choose one by --{name}-port")
    try:
        start_servers(places, found)
        start_workers(places, pools, found)
    except BaseException:
        if not found:
            stop()
        raise


def start_servers(places: Places, found: Mapping[str, Daemon]) -> None:
    """Both servers, at once, until both answer."""
    env = environment(places)
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--host", places.host, "--port"]
    servers = {
        "prefect": ([*prefect, str(places.prefect_port)], places.prefect, "/api/health"),
        "mlflow": (mlflow_command(places), places.mlflow, "/health"),
    }
    made = {
        name: found.get(name) or daemons.launch(name, command, folder=FOLDER, cwd=ROOT, env=env, url=url)
        for name, (command, url, _) in servers.items()
    }
    for name, daemon in made.items():
        wait(daemon, daemon.url + servers[name][2])


def start_workers(places: Places, pools: Sequence[str], found: Mapping[str, Daemon]) -> None:
    """Work pools, deployments, and the workers that are not there."""
    env = environment(places)
    deploy(env)
    for pool in pools:
        for name, (command, more) in workers(pool).items():
            if name not in found:
                daemon = daemons.launch(name, command, folder=FOLDER, cwd=ROOT, env={**env, **more})
                say(f"{name:<14} log {daemon.log}")


def workers(pool: str) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name -> command and environment of the workers of a pool here: for `gpu` one a GPU, which sees no other one.

    Without any GPU one worker serves `gpu` all the same: its stages run on the CPU instead of waiting for ever.
    """
    host, count = socket.gethostname(), gpus() if pool == "gpu" else 0

    def command(name: str, *options: str) -> list[str]:
        return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", "--name",
                f"{host} {name}", *options]  # fmt: skip

    if not count:
        return {f"worker-{pool}": (command(pool), {})}
    return {
        f"worker-{pool}-{i}": (command(f"{pool} {i}", "--limit", "1"), {"CUDA_VISIBLE_DEVICES": str(i)})
        for i in range(count)
    }


def deploy(env: Mapping[str, str]) -> None:
    """The work pools and the deployments of prefect.yaml, as they stand there.

    Raises:
        ServiceError: the server refuses.
    """
    for command in ([sys.executable, "-m", "flows.pools"], [sys.executable, "-m", "prefect", "--no-prompt", "deploy",
                                                            "--all"]):  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines()[-10:]
            raise ServiceError("\n".join([f"`{' '.join(command[2:])}` failed:", *said]))
    say("deployments of prefect.yaml are up to date")


def wait(daemon: Daemon, health: str) -> None:
    """Until a service answers.

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
            raise ServiceError(f"{daemon.name} ended, see {daemon.log}\n{daemons.tail(daemon)}")
        if sys.stderr.isatty():
            print(f"{daemon.name:<14} {time.monotonic() - begun:.0f} s", end="\r", file=sys.stderr)
        time.sleep(0.2)
    raise ServiceError(f"{daemon.name} does not answer after {PATIENCE:.0f} s, see {daemon.log}")


def free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def stop() -> int:
    """End all services and what they run: workers and their runs first, so that the server hears of it."""
    return daemons.stop(FOLDER, last=lambda name: not name.startswith("worker-"))


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


def status() -> int:
    """Say what runs; 0 if anything does, else 1."""
    found = daemons.running(FOLDER)
    for daemon in found.values():
        say(f"{daemon.name:<14} pid {daemon.pid:<8} {daemon.url}   log {daemon.log}")
    if not found:
        say("no services run here: make services")
    return 0 if found else 1


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m flows.services", description="Services of this repository.")
    parser.add_argument("command", choices=["start", "stop", "status"])
    parser.add_argument("--host", default=Places.host, help="address to listen on (default: %(default)s)")
    parser.add_argument("--prefect-port", type=int, default=Places.prefect_port, help="default: %(default)s")
    parser.add_argument("--mlflow-port", type=int, default=Places.mlflow_port, help="default: %(default)s")
    parser.add_argument("--pools", nargs="*", default=list(POOLS), choices=POOLS, help="pools served here, or none")
    given = parser.parse_args(argv)
    if given.command == "stop":
        say(f"{stop()} processes ended")
        return 0
    if given.command == "status" or daemons.running(FOLDER).keys() >= {"prefect", "mlflow", *names(given.pools)}:
        return status()
    try:
        places = Places(given.host, given.prefect_port, given.mlflow_port).beside(daemons.running(FOLDER))
        start(places, given.pools)
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    say(f"for runs by hand: export PREFECT_API_URL={places.prefect}/api MLFLOW_TRACKING_URI={places.mlflow}")
    return 0


def names(pools: Sequence[str]) -> list[str]:
    """Of the workers of these pools."""
    return [name for pool in pools for name in workers(pool)]


if __name__ == "__main__":
    sys.exit(main())
