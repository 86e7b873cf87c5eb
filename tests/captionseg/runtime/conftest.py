"""A Ray cluster of two nodes on this machine, each with three cores and a GPU that is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from captionseg.runtime.params import RuntimeParams

sys.path.insert(0, str(Path(__file__).parent))  # of fan_out_jobs, which workers import


@pytest.fixture(scope="package")
def cluster() -> Iterator[RuntimeParams]:
    """This process is in it, as whoever wants to keep a cluster for several stages would be.

    It ends with the tests of this folder, for its processes are busy even while they wait.
    """
    paths = [
        str(Path(__file__).parent),
        str(Path(__file__).parents[3]),
        os.environ.get("PYTHONPATH", ""),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # 127.0.0.1 alone
        import ray

        # as read where ray came before
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
        from ray.cluster_utils import Cluster

        node = {
            "num_cpus": 3,
            "num_gpus": 1,
            "include_dashboard": False,
            "include_log_monitor": False,
            "no_monitor": True,  # nothing scales
            "object_store_memory": 80_000_000,
        }
        nodes = Cluster(initialize_head=True, head_node_args=node)
        nodes.add_node(**{k: v for k, v in node.items() if k != "include_dashboard"})
        ray.init(address=nodes.address, logging_level="error", log_to_driver=False)
        yield RuntimeParams(fan_out="ray", ray=nodes.address)
        ray.shutdown()
        nodes.shutdown()
