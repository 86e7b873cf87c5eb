"""What still happens when a process ends without being taken apart, and what no longer does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LATE = """
import atexit, sys, tempfile, threading, time
from captionseg.runtime.ending import end_process

class Slow:
    def __del__(self):
        print("taken apart")

held = Slow()
atexit.register(print, "atexit")
folder = tempfile.TemporaryDirectory(dir=sys.argv[1])
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
print("end", end=" ")
print("error", end="", file=sys.stderr)
end_process(int(sys.argv[2]))
"""


@pytest.mark.parametrize("code", [0, 1, 143])
def test_threads_atexit_and_streams_come_first_and_the_code_is_kept(
    tmp_path: Path, code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE, str(tmp_path), str(code)], capture_output=True, text=True
    )
    assert done.returncode == code
    assert done.stdout == "end thread\natexit\n"
    assert done.stderr == "error"
    assert not list(tmp_path.iterdir())  # the temporary folder


FULL = """
from captionseg.runtime.ending import end_process
print("lost")
end_process(0)
"""


def test_output_that_is_lost_is_a_failure() -> None:
    environ = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", FULL],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )
    assert done.returncode == 120
    assert "No space left on device" in done.stderr


def test_closed_streams_are_no_failure() -> None:
    code = "import sys; from captionseg.runtime.ending import end_process; end_process(3)"
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, code])
    assert done.returncode == 3
