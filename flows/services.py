"""A Prefect server, an MLflow server and workers on this machine, by one command.

    python -m flows.services start [--prefect-port 4200] [--mlflow-port 5000] [--pools cpu gpu]
    python -m flows.services status
    eval "$(python -m flows.services env)"      # then runs by hand are of these servers
    python -m flows.services stop

What they keep is in .services/ (Prefect's database, logs, pids) and in mlflow.db and mlruns/, where
stages write without a server too. Another database or another place for artifacts: the tools' own
variables, which win over this: PREFECT_API_DATABASE_CONNECTION_URL, MLFLOW_BACKEND_STORE_URI,
MLFLOW_ARTIFACTS_DESTINATION.
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
PATIENCE = 180.0  # seconds that a service may take to answer


class ServiceError(Exception):
    """A service does not start. One line, or the last ones of its log."""


def count_gpus() -> int:
    """How many GPUs this machine has, by nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return 0
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return (
        len([line for line in done.stdout.splitlines() if line.startswith("GPU ")])
        if done.returncode == 0
        else 0
    )


def build_mlflow_command(places: Places, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The MLflow server. Files of runs are files of this machine, unless it is told where to send
    them.

    Runs of this machine write them where `dvc repro` does without a server; those of others send
    them to it.
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
    """Bring everything up that is not up, servers first, and wait until each answers.

    Raises:
        ServiceError: a port is taken, or something does not start; then all is stopped, unless
            something ran before.
    """
    running = list_working()
    for name in dict(daemons.list_marked(FOLDER)).keys() - running.keys():
        say(
            f"{name:<14} {clear(name)} processes of one that has ended, or is of no use, were ended"
        )
    for name, port in (("prefect", places.prefect_port), ("mlflow", places.mlflow_port)):
        if name not in running and not is_free(places.host, port):
            raise ServiceError(
                f"port {port} is in use by {describe_holder(port)}: choose one by --{name}-port"
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
    """The daemons that run and are of use: servers that listen, and none that was started before
    the checkout was moved: its database is elsewhere now.
    """
    running, ports = daemons.list_running(FOLDER), list_listening(FOLDER)
    return {
        name: daemon
        for name, daemon in running.items()
        if daemon.folder == str(FOLDER) and (not daemon.url or httpx.URL(daemon.url).port in ports)
    }


def clear(name: str) -> int:
    """End all that came of the daemon of that name: what it left holds its port, or works on; how
    many there were.
    """
    return daemons.end(
        lambda: [process for of, process in daemons.list_marked(FOLDER) if of == name], 10.0
    )


def heal(server: str) -> None:
    """Set runs that this checkout has lost to Crashed, so that their places in the pools
    are free.
    """
    host = httpx.URL(server).host
    ours = runs.Workers(
        read_identity(FOLDER), [*daemons.list_running(FOLDER)], alone=host in LOOPBACK
    )
    try:
        for line in runs.heal(runs.Api(f"{server}/api"), FOLDER, ours):
            say(line)
    except httpx.HTTPError as error:
        say(
            f"Prefect does not answer ({type(error).__name__}): the next start sets runs that are "
            "lost to Crashed"
        )


def start_servers(places: Places, running: Mapping[str, Daemon]) -> None:
    """Both servers, at once, until both answer."""
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
    """Work pools, deployments, and the workers that are not there."""
    env = build_environment(places)
    deploy(env)
    for pool in pools:
        for name, (command, more) in list_workers(pool).items():
            if name not in running:
                daemon = daemons.launch(name, command, folder=FOLDER, cwd=ROOT, env={**env, **more})
                say(f"{name:<14} log {daemon.log}")


def list_workers(pool: str) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name -> command and environment of the workers of a pool here: for `gpu` one a GPU, which
    sees no other one.

    Without any GPU one worker serves `gpu` all the same: its stages run on the CPU instead of
    waiting for ever.
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
    """The work pools and the deployments of prefect.yaml, as they stand there.

    Raises:
        ServiceError: the server refuses.
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
            raise ServiceError(
                f"{daemon.name} ended, see {daemon.log}\n{daemons.read_tail(daemon)}"
            )
        if sys.stderr.isatty():
            print(f"{daemon.name:<14} {time.monotonic() - begun:.0f} s", end="\r", file=sys.stderr)
        time.sleep(0.2)
    raise ServiceError(f"{daemon.name} does not answer after {PATIENCE:.0f} s, see {daemon.log}")


def end() -> int:
    """End all services and what they run; how many processes there were.

    First the runs, while workers are held so that none takes another one, and the server is told
    what became of them.
    """
    running = daemons.list_running(FOLDER)
    of_runs = {p.pid for those in runs.list_processes(FOLDER).values() for p in those}
    for name, process in daemons.list_marked(FOLDER):  # also those that no file speaks of
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
    """Only one start or stop of this checkout at a time; the others wait, and say for whom."""
    with hold_lock(FOLDER / "services.lock", what, say, what=str(FOLDER)):
        yield


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


def status() -> int:
    """Say what runs; 0 if anything does, else 1."""
    running, use = daemons.list_running(FOLDER), list_working()
    for name, daemon in {**daemons.list_known(FOLDER), **running}.items():
        state = (
            f"pid {daemon.pid:<8} {daemon.url}"
            if name in running
            else "ended: make services starts it again"
        )
        if name in running and name not in use:
            state += " does not listen: make services starts it again"
        say(f"{name:<14} {state}   log {daemon.log}")
    if not running:
        say("no services run here: make services")
    return 0 if running else 1


def begin(arguments: argparse.Namespace) -> int:
    """`start`, or `status` where all that is asked for works."""
    if "?" in str(ROOT):  # the rest would be taken for options, and the database be another file
        raise ServiceError(f"{ROOT}: addresses of databases cannot have a `?`; rename the folder")
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
                f"--{name.replace('_', '-')} {value}: it is {stays} while services run; make "
                "services-stop first"
            )
    if running.keys() >= {"prefect", "mlflow", *name_workers(arguments.pools)}:
        return status()
    start(places, arguments.pools)
    say(
        f"for runs by hand: export PREFECT_API_URL={places.prefect}/api "
        f"MLFLOW_TRACKING_URI={places.mlflow}"
    )
    return 0


def print_variables() -> int:
    """Print what a shell needs for runs by hand; 1 where no server runs."""
    running = list_working()
    if not running.keys() >= {"prefect", "mlflow"}:
        print("error: no services run here: make services", file=sys.stderr)
        return 1
    for name, value in (
        ("PREFECT_API_URL", f"{running['prefect'].url}/api"),
        ("MLFLOW_TRACKING_URI", running["mlflow"].url),
    ):
        say(f"export {name}={shlex.quote(value)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.services", description="Services of this repository."
    )
    parser.add_argument("command", choices=["start", "stop", "status", "env"])
    parser.add_argument("--host", help=f"address to listen on (default: {Places.host})")
    parser.add_argument("--prefect-port", type=int, help=f"default: {Places.prefect_port}")
    parser.add_argument("--mlflow-port", type=int, help=f"default: {Places.mlflow_port}")
    parser.add_argument(
        "--pools", nargs="*", default=list(POOLS), choices=POOLS, help="pools served here, or none"
    )
    arguments = parser.parse_args(argv)
    if arguments.command in ("status", "env"):
        return status() if arguments.command == "status" else print_variables()
    try:
        with lock_services(arguments.command):
            if arguments.command == "start":
                return begin(arguments)
            say(f"{end()} processes ended")
            if left := daemons.list_running(FOLDER):
                names = ", ".join(f"{one.name} (pid {one.pid})" for one in left.values())
                raise ServiceError(f"not ended, since another user started them: {names}")
            return 0
    except (ServiceError, OSError) as error:  # a file of another user's, a disk that is full
        print(f"error: {error}", file=sys.stderr)
        return 1


def name_workers(pools: Sequence[str]) -> list[str]:
    """Of the workers of these pools."""
    return [name for pool in pools for name in list_workers(pool)]


if __name__ == "__main__":
    sys.exit(main())
