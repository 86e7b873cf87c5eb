"""Who is who among processes, and that none of them outlives the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captionseg.records import UserError
from captionseg.runtime.launch import Place, read_place
from captionseg.runtime.params import RuntimeParams

SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
from captionseg.records import UserError
from captionseg.runtime import launch
from captionseg.runtime.params import RuntimeParams

launch.GRACE = 1.0
what, out = sys.argv[1], Path(sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    with launch.start_processes(RuntimeParams(devices=3)) as here:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        place = [os.getpid(), *(os.environ[name] for name in names)]
        (out / f"{here.rank}.json").write_text(json.dumps(place))
        while len(list(out.glob("*.json"))) < 3:
            time.sleep(0.02)
        if what == "fails" and here.rank == 2:
            sys.exit(3)
        if what == "killed" and here.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "raises" and here.main:
            raise KeyError("x")
        while what != "ends":
            time.sleep(0.02)
    assert "RANK" not in os.environ or not here.main
    assert "torch" not in sys.modules
except UserError as error:
    sys.exit(f"error: {error}")
"""


def run(what: str, out: Path) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, what, str(out)],
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
    )


def gone(out: Path, seconds: float = 240.0) -> bool:
    """Whether all processes end."""
    pids = [json.loads(path.read_text())[0] for path in out.glob("*.json")]
    assert len(pids) == 3
    deadline = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_one_process_starts_the_others_and_waits_for_them(tmp_path):
    process = run("ends", tmp_path)
    _, error = process.communicate(timeout=240)
    assert (process.returncode, error) == (0, "")
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert [found[1:5] for found in said] == [[str(n), str(n), "3", "127.0.0.1"] for n in range(3)]
    assert len({found[5] for found in said}) == 1
    assert gone(tmp_path)


@pytest.mark.parametrize(
    ("what", "how"),
    [("fails", "of rank 2 ended with code 3"), ("killed", "of rank 1 was killed by signal 9")],
)
def test_when_one_fails_all_end_and_the_first_says_which(tmp_path, what, how):
    """Though the first waits for it in vain, and would not notice."""
    process = run(what, tmp_path)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 1
    assert error == (
        f"error: the process {how}, so all were ended; see its messages above. Run it "
        "again to resume from the last checkpoint\n"
    )
    assert gone(tmp_path)


def test_the_others_end_with_the_first(tmp_path):
    """However that ends: by an exception, told to, or killed."""
    for number, (what, sent, code) in enumerate(
        (("raises", None, 1), ("waits", signal.SIGTERM, 143), ("waits", signal.SIGKILL, -9))
    ):
        out = tmp_path / str(number)
        out.mkdir()
        process = run(what, out)
        deadline = time.monotonic() + 240
        while len(list(out.glob("*.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        if sent:
            process.send_signal(sent)
        _, error = process.communicate(timeout=240)
        assert process.returncode == code, error
        assert gone(out)


def test_the_place_of_a_process_is_torchruns():
    two, nodes = RuntimeParams(devices=2), RuntimeParams(devices=2, nodes=2)
    assert read_place(RuntimeParams(), {"NODE_RANK": "7", "RANK": "0"}) == Place(0, 0, 1)
    assert read_place(two, {}) == Place(0, 0, 2)
    assert read_place(two, {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}) == Place(1, 1, 2)
    address = {"MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert read_place(nodes, address | {"NODE_RANK": "1"}) == Place(2, 0, 4)
    assert read_place(nodes, {"RANK": "3"}) == Place(3, 1, 4)
    assert [read_place(nodes, address | {"NODE_RANK": n}).main for n in "01"] == [True, False]


@pytest.mark.parametrize(
    ("params", "environ", "message"),
    [
        ({}, {"WORLD_SIZE": "2"}, r"WORLD_SIZE is 2, but runtime.devices x runtime.nodes is 1"),
        (
            {"devices": 2},
            {"RANK": "0", "WORLD_SIZE": "4"},
            r"WORLD_SIZE is 4, but runtime.devices x runtime.nodes is 2",
        ),
        (
            {"devices": 2},
            {"RANK": "2"},
            r"rank 2, local rank 0, does not exist with 1 machines and 2 processes each",
        ),
        ({"devices": 2}, {"RANK": "one"}, r"RANK is 'one', which is not a number"),
        (
            {"nodes": 2},
            {"NODE_RANK": "0"},
            r"runtime.nodes is 2: set MASTER_ADDR, MASTER_PORT and NODE_RANK",
        ),
        (
            {"nodes": 2},
            {"MASTER_ADDR": "a", "MASTER_PORT": "1"},
            r"runtime.nodes is 2: set MASTER_ADDR",
        ),
        (
            {"nodes": 2},
            {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "2"},
            r"rank 2, .*does not exist with 2 machines",
        ),
    ],
)
def test_a_place_that_does_not_fit_is_one_line(params, environ, message):
    with pytest.raises(UserError, match=message):
        read_place(RuntimeParams(**params), environ)
