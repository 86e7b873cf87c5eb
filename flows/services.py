"""Starts and stops a Prefect server, an MLflow server and workers on this machine.

    python -m flows.services start [--prefect-port 4200] [--mlflow-port 5000] [--pools cpu gpu]
    python -m flows.services status
    eval "$(python -m flows.services env)"      # then runs by hand use these servers
    python -m flows.services stop

Their data are in .services/ (Prefect's database, logs, pids), and in mlflow.db and mlruns/, which
stages also use without a server. To use another database or another place for artifacts, set
PREFECT_API_DATABASE_CONNECTION_URL, MLFLOW_BACKEND_STORE_URI or MLFLOW_ARTIFACTS_DESTINATION.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import httpx
import psutil

from flows import daemons, runs
from flows.daemons import Daemon
from flows.places import FOLDER, ROOT, Places, build_environment, read_identity
from flows.ports import LOOPBACK, describe_holder, is_free, list_listening
from flows.workspace import hold_lock

POOLS = ("cpu", "gpu")
PATIENCE = 180.0  # seconds to wait for a service to answer


class ServiceError(Exception):
    """A service does not start; one line, or the last lines of its log."""


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


def start(places: Places, pools: Sequence[str] = POOLS) -> None:
    """Start everything that does not run, servers first, and wait until each answers.

    Raises:
        ServiceError: a port is in use, or a service does not start; then all services are stopped,
            unless some ran before.
    """
    running = list_working()
    for name in dict(daemons.list_marked(FOLDER)).keys() - running.keys():
        say(f"{name:<14} ended {clear(name)} processes left by an ended or unusable service")
    for name, port in (("prefect", places.prefect_port), ("mlflow", places.mlflow_port)):
        if name not in running and not is_free(places.host, port):
            raise ServiceError(
                f"port {port} is in use by {describe_holder(port)}; choose another with "
                f"--{name}-port"
            )
    try:
        start_servers(places, running)
        heal(places.prefect)
        start_workers(places, pools, running)
    except BaseException:
        if not running:
            end()
        raise


def list_working() -> dict[str, Daemon]:
    """Return the usable running daemons: servers must listen, and none may have been started before
    the checkout was moved, because its database is elsewhere now.
    """
    running, ports = daemons.list_running(FOLDER), list_listening(FOLDER)
    return {
        name: daemon
        for name, daemon in running.items()
        if daemon.folder == str(FOLDER) and (not daemon.url or httpx.URL(daemon.url).port in ports)
    }


def clear(name: str) -> int:
    """End all processes that a daemon left, which occupy its port or still work; return their
    number.
    """
    return daemons.end(
        lambda: [process for of, process in daemons.list_marked(FOLDER) if of == name], 10.0
    )


def heal(server: str) -> None:
    """Set lost runs of this checkout to Crashed, which frees their slots in the work pools."""
    host = httpx.URL(server).host
    ours = runs.Workers(
        read_identity(FOLDER), [*daemons.list_running(FOLDER)], alone=host in LOOPBACK
    )
    try:
        for line in runs.heal(runs.Api(f"{server}/api"), FOLDER, ours):
            say(line)
    except httpx.HTTPError as error:
        say(
            f"Prefect does not answer ({type(error).__name__}); the next start sets lost runs to "
            "Crashed"
        )


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


def end() -> int:
    """End all services and their runs; return the number of processes.

    Runs end first, while workers are suspended so that they start no others, and the server still
    records how the runs ended.
    """
    running = daemons.list_running(FOLDER)
    of_runs = {p.pid for those in runs.list_processes(FOLDER).values() for p in those}
    for name, process in daemons.list_marked(FOLDER):  # including those without a file
        if name.startswith("worker-") and process.pid not in of_runs:
            with contextlib.suppress(psutil.Error):
                process.suspend()
    count = runs.end(FOLDER)
    count += daemons.end(
        lambda: [p for name, p in daemons.list_marked(FOLDER) if name.startswith("worker-")], 5.0
    )
    if "prefect" in running:
        heal(running["prefect"].url)
    return count + daemons.stop(FOLDER, last=lambda name: not name.startswith("worker-"))


@contextlib.contextmanager
def lock_services(what: str) -> Iterator[None]:
    """Allow only one start or stop of this checkout at a time; others wait and print for whom."""
    with hold_lock(FOLDER / "services.lock", what, say, what=str(FOLDER)):
        yield


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, flush=True)


def status() -> int:
    """Print which services run; 0 if any does, otherwise 1."""
    running, use = daemons.list_running(FOLDER), list_working()
    for name, daemon in {**daemons.list_known(FOLDER), **running}.items():
        state = (
            f"pid {daemon.pid:<8} {daemon.url}"
            if name in running
            else "ended; `make services` restarts it"
        )
        if name in running and name not in use:
            state += " does not listen; `make services` restarts it"
        say(f"{name:<14} {state}   log {daemon.log}")
    if not running:
        say("no services are running; start them with `make services`")
    return 0 if running else 1


def begin(arguments: argparse.Namespace) -> int:
    """Run `start`, or only `status` if everything requested already works."""
    if "?" in str(ROOT):  # the rest would be parsed as options
        raise ServiceError(f"{ROOT}: a database address cannot contain `?`; rename the folder")
    running = list_working()
    options = {
        "host": arguments.host,
        "prefect_port": arguments.prefect_port,
        "mlflow_port": arguments.mlflow_port,
    }
    options = {name: value for name, value in options.items() if value is not None}
    places = Places(**options).follow_daemons(running)
    for name, value in options.items():
        if (stays := getattr(places, name)) != value:
            say(
                f"--{name.replace('_', '-')} {value} is ignored: it stays {stays} while services "
                "run; run `make services-stop` first"
            )
    if running.keys() >= {"prefect", "mlflow", *name_workers(arguments.pools)}:
        return status()
    start(places, arguments.pools)
    say(
        f"to run by hand: export PREFECT_API_URL={places.prefect}/api "
        f"MLFLOW_TRACKING_URI={places.mlflow}"
    )
    return 0


def print_variables() -> int:
    """Print the variables that a shell needs for runs by hand; 1 if no server runs."""
    running = list_working()
    if not running.keys() >= {"prefect", "mlflow"}:
        print("error: no services are running; start them with `make services`", file=sys.stderr)
        return 1
    for name, value in (
        ("PREFECT_API_URL", f"{running['prefect'].url}/api"),
        ("MLFLOW_TRACKING_URI", running["mlflow"].url),
    ):
        say(f"export {name}={shlex.quote(value)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 after one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.services",
        description="Manage the Prefect and MLflow servers and workers of this checkout.",
    )
    parser.add_argument(
        "command",
        choices=["start", "stop", "status", "env"],
        help="env prints the variables for runs by hand",
    )
    parser.add_argument("--host", help=f"address to listen on (default: {Places.host})")
    parser.add_argument(
        "--prefect-port", type=int, help=f"port of Prefect (default: {Places.prefect_port})"
    )
    parser.add_argument(
        "--mlflow-port", type=int, help=f"port of MLflow (default: {Places.mlflow_port})"
    )
    parser.add_argument(
        "--pools",
        nargs="*",
        default=list(POOLS),
        choices=POOLS,
        help="work pools to start workers for; may be empty (default: all)",
    )
    arguments = parser.parse_args(argv)
    if arguments.command in ("status", "env"):
        return status() if arguments.command == "status" else print_variables()
    try:
        with lock_services(arguments.command):
            if arguments.command == "start":
                return begin(arguments)
            say(f"ended {end()} processes")
            if left := daemons.list_running(FOLDER):
                names = ", ".join(f"{one.name} (pid {one.pid})" for one in left.values())
                raise ServiceError(f"not ended, because another user started them: {names}")
            return 0
    except (ServiceError, OSError) as error:  # another user's file, a full disk
        print(f"error: {error}", file=sys.stderr)
        return 1


def name_workers(pools: Sequence[str]) -> list[str]:
    """Return the names of the workers of these pools."""
    return [name for pool in pools for name in list_workers(pool)]


if __name__ == "__main__":
    sys.exit(main())
