"""The guard guards; else an empty record says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.offline.guard import Guard, namespace

PROGRAM = """
import asyncio, socket, urllib.request
from contextlib import suppress
with suppress(OSError): socket.create_connection(("192.0.2.7", 80), 1)
with suppress(OSError): urllib.request.urlopen("https://telemetry.example")
with suppress(OSError): socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("198.51.100.9", 53))
with suppress(OSError): socket.gethostbyname("name.example")
with suppress(OSError): asyncio.run(asyncio.open_connection("203.0.113.5", 443))
with suppress(OSError): print(socket.socket().connect_ex(("192.0.2.8", 80)))
home = socket.create_server(("localhost", 0))
socket.create_connection(home.getsockname()).close()
print("through")
"""
TARGETS = [
    "192.0.2.7",
    "telemetry.example",
    "('198.51.100.9',",
    "name.example",
    "203.0.113.5",
    "192.0.2.8",
]


def test_what_leaves_is_refused_and_written_down_and_what_stays_passes(tmp_path):
    guard = Guard(tmp_path)
    done = guard.python("-W", "ignore", "-c", PROGRAM, cwd=tmp_path)
    assert done.stdout == "through\n", done.stderr
    tried = [line.split()[2].strip("(',") for line in guard.recorded("refused")]
    assert tried == [target.strip("(',") for target in TARGETS]
    assert len(guard.recorded("process")) == 1


def test_the_kernel_refuses_what_python_does_not_see(tmp_path):
    if not namespace():
        pytest.skip(
            "this kernel gives us no network namespace; what Python connects to is seen without"
        )
    program = "import socket; socket.create_connection(('192.0.2.7', 80), 1)"
    assert (
        "Network is unreachable" in Guard(tmp_path).python("-S", "-c", program, cwd=tmp_path).stderr
    )


def test_a_python_that_is_not_watched_is_written_down(tmp_path):
    program = (
        "import subprocess, sys\n"
        "for env in (None, {}): subprocess.run([sys.executable, '-c', ''], env=env, check=True)\n"
    )
    guard = Guard(tmp_path)
    assert guard.python("-c", program, cwd=tmp_path).returncode == 0
    assert (len(guard.recorded("process")), len(guard.recorded("unwatched"))) == (2, 1)


@pytest.mark.parametrize("analytics", [True, False])
def test_it_would_see_dvc_report(tmp_path, analytics):
    """DVC reports from a process that it sends into the background; our configuration keeps it from
    that.
    """
    guard, root = Guard(tmp_path), tmp_path / "repository"
    (root / ".dvc").mkdir(parents=True)
    ours = (Path(__file__).parents[2] / ".dvc" / "config").read_text()
    (root / ".dvc" / "config").write_text(
        ("[core]\n" if analytics else ours).replace("[core]\n", "[core]\n    no_scm = true\n")
    )
    done = guard.python("-m", "dvc", "status", cwd=root)
    assert done.returncode == 0, done.stderr
    assert bool(guard.recorded("unwatched")) == analytics


def test_settings_of_the_caller_do_not_come_in(tmp_path, monkeypatch):
    for name in (
        "DO_NOT_TRACK",
        "DVC_NO_ANALYTICS",
        "MLFLOW_DISABLE_TELEMETRY",
        "CI",
        "CAPTIONSEG_TRACKING",
    ):
        monkeypatch.setenv(name, "1")
    shown = (
        Guard(tmp_path)
        .python("-c", "import os; print(*sorted(os.environ))", cwd=tmp_path)
        .stdout.split()
    )
    known = {
        "HOME",
        "PATH",
        "PYTHONPATH",
        "OFFLINE_RECORD",
        "OMP_NUM_THREADS",
        "LANG",
        "LD_LIBRARY_PATH",
        "TMPDIR",
        "LC_CTYPE",
    }
    assert set(shown) <= known
