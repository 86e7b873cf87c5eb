"""Ray: shares of GPUs, a cluster of one's own, and what is said where something is missing. See
test_fan_out too.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import fan_out_jobs as jobs
import pytest

from captionseg.records import UserError
from captionseg.runtime import ray_tasks
from captionseg.runtime.fan_out import spread
from captionseg.runtime.params import RuntimeParams


def test_a_task_takes_its_share_of_a_gpu(cluster: RuntimeParams) -> None:
    half = RuntimeParams(fan_out="ray", ray=cluster.ray, gpu_share=0.5)
    for seconds in (0.3, 1.0, 4.0):  # on a busy machine short tasks may miss each other
        found = list(spread(functools.partial(jobs.place, seconds), range(10), half, device="auto"))
        together = [sum(a < other < b for _, other, *_ in found) for a, b, *_ in found]
        if max(together) > 1:
            break
    assert 1 < max(together) <= 4  # two GPUs by two halves, though there are six cores
    assert {gpu for _, _, gpu, _ in found} == {"0"}  # each sees that of its node alone


def test_without_ray_installed_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with pytest.raises(UserError, match="ray is not installed"):
        list(spread(jobs.square, range(2), RuntimeParams(fan_out="ray")))


def test_a_machine_without_the_files_is_named(tmp_path: Path) -> None:
    number, well, error = ray_tasks._run(([], "x", str(tmp_path / "gone"), 1), 7, None)
    assert (number, well) == (7, False)
    assert isinstance(error, UserError)
    assert "gone: does not exist on a machine of the Ray cluster" in str(error)


# The program that asks for a cluster has imported ray before, and somebody's environment asks for
# clusters that others can join. Ray's servers come up one after the other, its agent last.
ALONE = """
import fan_out_jobs, os, psutil, ray, time
from captionseg.runtime.params import RuntimeParams
from captionseg.runtime.fan_out import spread

def listening():
    found = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        name = " ".join(process.cmdline())
        found |= {(name, c.laddr.ip) for c in process.net_connections() if c.status == "LISTEN"}
    return found

found = spread(fan_out_jobs.square, range(5), RuntimeParams(fan_out="ray", workers=2))
first, end = next(found), time.monotonic() + 120
while not any("dashboard/agent.py" in name or "DashboardAgent" in name for name, _ in listening()):
    assert time.monotonic() < end, listening()
    time.sleep(0.1)
addresses = {address.removeprefix("::ffff:") for _, address in listening()}
assert addresses == {"127.0.0.1"}, listening()
assert [first, *found] == [0, 1, 4, 9, 16]
assert not ray.is_initialized()
assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"
"""


def test_a_cluster_of_ones_own_listens_to_this_machine_alone_and_goes_again() -> None:
    """In a process of its own: this one may be in a cluster already, and its fixture sets variables
    of Ray's.
    """
    ours = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    ours |= {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[3])]),
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", ALONE], env=ours, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_ray_that_listens_to_others_all_the_same_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a later version might, which knows nothing of what is set for it."""
    import ray

    gone = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: gone.append(True))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.5")
    with pytest.raises(UserError, match=r"listens on 10\.0\.0\.5"):
        ray_tasks.connect(RuntimeParams(fan_out="ray"))
    assert gone
