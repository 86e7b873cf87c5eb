"""Commands as on the machine of somebody who types what the README says, and that no connection
leaves.

Two guards: sitecustomize.py beside this file refuses and writes down what Python's sockets are
asked for, and where the kernel lets us everything runs in a network of its own that has loopback
and nothing else.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ALONE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    # SIOCSIFFLAGS: loopback up, running
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
os.execvp(sys.argv[1], sys.argv[1:])
"""


@functools.cache
def namespace() -> tuple[str, ...]:
    """Words before a command that leave it no network but loopback; none where the kernel does not
    let us.
    """
    words = ("unshare", "-rn", sys.executable, "-S", "-c", ALONE)
    try:
        done = subprocess.run([*words, "true"], capture_output=True, check=False)
    except OSError:
        return ()
    return words if done.returncode == 0 else ()


@dataclass(frozen=True)
class Guard:
    """Runs Python in a folder that is home, with a record of processes and connections.

    Nothing of the caller's environment comes in: what it says of telemetry, tracking or CI would
    hide what we do.

    Attributes:
        home: a folder; the record and what libraries keep for a user lie there.
    """

    home: Path

    def environment(self) -> dict[str, str]:
        """Variables of a process; its PYTHONPATH begins with the guard."""
        kept = {
            name: os.environ[name]
            for name in ("LANG", "LD_LIBRARY_PATH", "TMPDIR")
            if name in os.environ
        }
        return kept | {
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parent),
            "OFFLINE_RECORD": str(self.home / "record"),
            "OMP_NUM_THREADS": "1",
        }

    def install(self, root: Path) -> None:
        """Guard what runs with PYTHONPATH=. in this folder, as the stages of dvc.yaml do."""
        shutil.copy(Path(__file__).parent / "sitecustomize.py", root)

    def python(
        self, *words: str, cwd: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Python to its end."""
        return self.run(sys.executable, *words, cwd=cwd, env=env)

    def run(
        self, *words: str, cwd: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. It is guarded if sitecustomize.py is on its PYTHONPATH."""
        return subprocess.run(
            [*namespace(), *words],
            cwd=cwd,
            env=self.environment() | (env or {}),
            text=True,
            capture_output=True,
            check=False,
        )

    def recorded(self, *kinds: str) -> list[str]:
        """Lines of the record of some kinds (process, refused, unwatched), without that word."""
        record = self.home / "record"
        lines = record.read_text().splitlines() if record.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(kinds)]
