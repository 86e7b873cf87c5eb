"""Ray: shares of GPUs, a cluster of one's own, and what is said where something is missing. See test_fan_out too."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import fan_out_jobs as jobs
import pytest

from captionseg.records import UserError
from captionseg.runtime import RuntimeParams, ray_tasks
from captionseg.runtime.fan_out import spread


def test_a_task_takes_its_share_of_a_gpu(cluster: RuntimeParams) -> None:
    half = RuntimeParams(fan_out="ray", ray=cluster.ray, gpu_share=0.5)
    found = list(spread(functools.partial(jobs.place, 0.3), range(10), half, device="auto"))
    together = [sum(a < other < b for _, other, *_ in found) for a, b, *_ in found]
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
    assert "gone: a machine of the Ray cluster" in str(error)


def test_a_cluster_of_ones_own_listens_to_this_machine_alone_and_goes_again() -> None:
    """In a process of its own: this one may be in a cluster already."""
    code = """
import fan_out_jobs, psutil, ray
from captionseg.runtime import RuntimeParams
from captionseg.runtime.fan_out import spread
found = spread(fan_out_jobs.square, range(5), RuntimeParams(fan_out="ray", workers=2))
first, me = next(found), psutil.Process()
connections = [c for p in [me, *me.children(recursive=True)] for c in p.net_connections()]
addresses = {c.laddr.ip for c in connections if c.status == "LISTEN"}
assert addresses and {a.removeprefix("::ffff:") for a in addresses} == {"127.0.0.1"}, addresses
assert [first, *found] == [0, 1, 4, 9, 16]
assert not ray.is_initialized()
"""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[3])])
    environment = {**os.environ, "PYTHONPATH": paths, "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
