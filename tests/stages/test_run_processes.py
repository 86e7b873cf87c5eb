"""A stage as a process, or several of them: killed, told to end, mistaken."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(root: Path, *arguments: str, **options) -> subprocess.Popen:
    driver = "import sys, stages.run as r; r.STAGES += ('toy',); sys.exit(r.main(sys.argv[1:]))"
    environ = os.environ | {
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CAPTIONSEG_TRACKING": "off",
    }
    return subprocess.Popen(
        [sys.executable, "-c", driver, *arguments],
        cwd=root,
        env=environ,
        text=True,
        stderr=subprocess.PIPE,
        **options,
    )


LAST_STAGE = '"compare",\n)'


def start_toy(repository: Path) -> subprocess.Popen:
    """`python -m stages.run toy`, by the real stages/run.py, so with the real handling of
    signals."""
    shutil.copy(ROOT / "stages" / "run.py", repository / "stages" / "run.py")
    text = (repository / "stages" / "run.py").read_text()
    assert text.count(LAST_STAGE) == 1
    (repository / "stages" / "run.py").write_text(
        text.replace(LAST_STAGE, LAST_STAGE.replace(")", '    "toy",\n)'))
    )
    environ = os.environ | {"PYTHONPATH": str(repository), "CAPTIONSEG_TRACKING": "off"}
    return subprocess.Popen(
        [sys.executable, "-m", "stages.run", "toy", "--out", "out"],
        cwd=repository,
        env=environ,
        text=True,
        stderr=subprocess.PIPE,
    )


TOY = '''
from __future__ import annotations
import time
from pathlib import Path
from captionseg.records import UserError
from captionseg.tracking.tracker import NullTracker
from captionseg.storage.writing import write_json
from stages.kinds import Out
PARAMS = ("seed",)

def main(params, *, out: Out) -> None:
    """Five parts; waits after the third until it may go on."""
    if Path("refuse").exists():
        raise UserError("toy: this cannot be; do that")
    for number in range(5):
        if not (out / f"{number}.json").exists():
            write_json({"made": number}, out / f"{number}.json")
            with open("made", "a") as stream:
                stream.write(f"{number} ")
        while number == 2 and not Path("go").exists():
            time.sleep(0.01)
'''


@pytest.fixture
def repository(tmp_path) -> Path:
    """A copy of stages/ with a toy in it, beside the library."""
    shutil.copytree(
        ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "captionseg").symlink_to(ROOT / "captionseg")
    (tmp_path / "stages" / "toy.py").write_text(TOY)
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    return tmp_path


def test_a_stage_that_is_killed_goes_on(repository):
    process = command(repository, "toy", "--out", "out", start_new_session=True)
    deadline = time.monotonic() + 240
    while not list(repository.glob(".work/toy/*/out/2.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (repository / "out").exists()

    (repository / "go").touch()
    again = command(repository, "toy", "--out", "out")
    assert again.communicate() is not None
    assert again.returncode == 0
    assert (repository / "made").read_text() == "0 1 2 3 4 "  # each part once
    assert sorted(p.name for p in (repository / "out").iterdir()) == [f"{n}.json" for n in range(5)]


TOGETHER = '''
from captionseg.runtime.launch import start_processes
PARAMS = ("seed", "runtime.precision")

def main(params, *, out, tracker) -> dict[str, float]:
    """Two seeds; rank 1 does its share, and would be found out if it wrote."""
    with start_processes(params.runtime) as here:
        with open(f"rank{here.rank}", "a") as stream:
            stream.write(f"{type(tracker).__name__} {out.exists()} ")
        if not here.main:
            return {}
        out.mkdir(exist_ok=True)
        for seed in range(2):
            (out / str(seed)).write_text("trained")
        return {"loss": 1.0}
main.__annotations__["out"] = __import__("stages.kinds", fromlist=["Out"]).Out
'''


def test_of_several_processes_the_first_alone_writes_and_tells(repository):
    """One tracker, one work folder, outputs moved once; the other process leaves nothing and is
    gone.
    """
    (repository / "stages" / "toy.py").write_text(TOGETHER)
    (repository / "params.yaml").write_text("seed: 0\nruntime: {devices: 2}\n")
    driver = """
import contextlib, sys, stages.run as r
r.STAGES, r.SEVERAL = (*r.STAGES, "toy"), ("toy",)
class Told:
    inputs = tags = lambda self, values: None
    def params(self, values): print(sorted(values), file=open("told", "a"))
    def metrics(self, values): print(values, file=open("told", "a"))
r.start_tracker = lambda *a, **k: contextlib.nullcontext(Told())
sys.exit(r.main(sys.argv[1:]))
"""
    environ = os.environ | {"PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", driver, "toy", "--out", "out"],
        cwd=repository,
        env=environ,
        text=True,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (repository / "told").read_text() == "['runtime.precision', 'seed']\n{'loss': 1.0}\n"
    assert (repository / "rank0").read_text() == "DeferredTracker False "
    assert (repository / "rank1").read_text().split()[0] == "NullTracker"
    assert sorted(os.listdir(repository / "out")) == ["0", "1"]
    assert not list((repository / ".work" / "toy").iterdir())


def test_a_stage_that_is_told_to_end_says_so_in_its_code_and_nothing_else(repository):
    (repository / "stages" / "toy.py").write_text(TOY)
    process = start_toy(repository)
    deadline = time.monotonic() + 240
    while not list(repository.glob(".work/toy/*/out/2.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    _, error = process.communicate(timeout=240)
    assert (process.returncode, error) == (143, "")


CLEANS = """
import time
from pathlib import Path
from stages.kinds import Out
PARAMS = ()

def main(params, *, out: Out) -> None:
    try:
        Path("begun").touch()
        time.sleep(600)
    finally:
        Path("told").touch()
        while not Path("go").exists():
            time.sleep(0.01)
        Path("cleaned").touch()
"""


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_stage_that_is_told_twice_ends_well_all_the_same(repository, first):
    """As when a group of processes is ended: the stage hears of it, and that its DVC is gone."""
    (repository / "stages" / "toy.py").write_text(CLEANS)
    process = start_toy(repository)
    until((repository / "begun").exists, process)
    process.send_signal(first)
    until((repository / "told").exists, process)
    process.terminate()
    (repository / "go").touch()
    process.communicate(timeout=240)
    assert process.returncode == 128 + first
    assert (repository / "cleaned").exists()


def test_a_mistake_of_the_users_is_one_line_and_code_1(repository):
    (repository / "refuse").touch()
    process = command(repository, "toy", "--out", "out")
    _, error = process.communicate()
    assert (process.returncode, error) == (1, "error: toy: this cannot be; do that\n")


def until(true, *processes: subprocess.Popen, seconds: float = 240.0) -> None:
    """Wait, as long as these processes run."""
    deadline = time.monotonic() + seconds
    while not true():
        for process in processes:
            assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_run_of_a_stage_waits_and_says_for_whom(repository):
    """Though it has other params, hence another work folder. One that is killed is waited for no
    longer.
    """
    first = command(repository, "toy", "--out", "out")
    until(lambda: list(repository.glob(".work/toy/*/out/2.json")), first)
    (repository / "params.yaml").write_text("seed: 1\n")
    second, third = (
        command(repository, "toy", "--out", place)
        for place in ("../" + repository.name + "/out", "out")
    )
    for process in (second, third):  # each says one line and waits
        said = process.stderr.readline()
        assert f"(pid {first.pid} on " in said, said
        assert said.startswith("toy: waiting for "), said
    assert len(list(repository.glob(".work/toy/*"))) == 1, "they have made nothing"
    first.kill()
    first.communicate()
    until(lambda: len(list(repository.glob(".work/toy/*/out/2.json"))) == 2)
    (repository / "go").touch()
    for process in (second, third):
        process.communicate(timeout=240)
        assert process.returncode == 0
    assert sorted(p.name for p in (repository / "out").iterdir()) == [f"{n}.json" for n in range(5)]
    assert [p.name for p in repository.glob(".work/locks/*.holder")] == []


def test_ctrl_c_is_one_line(repository):
    process = start_toy(repository)
    until(lambda: list(repository.glob(".work/toy/*/out/2.json")), process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=240)
    assert (process.returncode, error) == (
        130,
        "interrupted; the next run resumes from the finished parts\n",
    )


FULL = """
import resource, tarfile
import numpy as np
import pyarrow as pa
from captionseg.storage.writing import *
from stages.kinds import Out
PARAMS = ()

def tar(path):
    with atomic_path(path) as part, tarfile.open(part, "w") as file:
        file.add("captionseg")

def main(params, *, out: Out):
    # Of a file: as if the disk were full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    lines, numbers = [], np.random.rand(9000)
    for kind, write in {"json": lambda path: write_json(list(range(9000)), path),
                        "npy": lambda path: write_array(np.arange(900_000), path),
                        "parquet": lambda path: write_table(pa.table({"x": numbers}), path),
                        "safetensors": lambda path: write_tensors({"x": numbers}, path),
                        "tar": tar}.items():
        try:
            write(out / f"x.{kind}")
        except OSError as error:
            last = error
            lines.append(describe_trouble(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    write_json(lines, "lines.json")
    raise last
"""


def test_a_full_disk_is_one_line_and_leaves_no_part(repository):
    """Whatever library writes: the file, what is wrong, what to do."""
    (repository / "stages" / "toy.py").write_text(FULL)
    process = command(repository, "toy", "--out", "out")
    _, error = process.communicate(timeout=240)
    lines = json.loads((repository / "lines.json").read_text())
    assert (process.returncode, error) == (1, f"error: toy: {lines[-1]}\n")
    for kind, line in zip(("json", "npy", "parquet", "safetensors", "tar"), lines, strict=True):
        assert line.startswith(".work/toy/"), line
        assert f"/out/x.{kind}: File too large; " in line
    assert not list(repository.rglob("*.part"))


@pytest.mark.parametrize("module", ["stages", "captionseg.cli"])
@pytest.mark.parametrize("given", [None, "active"])
def test_threads_that_wait_give_up_their_cores_unless_told_otherwise(given, module):
    """Said before anything loads the library that reads it."""
    program = (
        f"import sys, {module}, os; print(os.environ['OMP_WAIT_POLICY'], {{'numpy', 'torch'}} & "
        "set(sys.modules))"
    )
    environ = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | {
        "PYTHONPATH": str(ROOT)
    }
    environ |= {"OMP_WAIT_POLICY": given} if given else {}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{given or 'passive'} set()\n"
