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
import shlex
import sys
from collections.abc import Iterator, Sequence

import httpx
import psutil

from flows import daemons, runs
from flows.daemons import Daemon
from flows.launching import POOLS, ServiceError, name_workers, say, start_servers, start_workers
from flows.locks import hold_lock
from flows.places import FOLDER, ROOT, Places, read_identity
from flows.ports import LOOPBACK, describe_holder, is_free, list_listening


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
    arguments = parse_arguments(argv)
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


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command and its options."""
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
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
