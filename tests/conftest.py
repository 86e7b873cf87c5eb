"""Before anything is imported: one thread. Arrays in tests are so small that threads only wait for
each other.
"""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files whose tests look at one costly thing, by that thing: all of them go to one process, first.
TOGETHER = {
    "tests/flows/test_servers.py": "servers",
    "tests/stages/test_dag.py": "dag",
    "tests/stages/test_offline.py": "dag",
    "tests/captionseg/runtime/test_fan_out.py": "ray",
    "tests/captionseg/runtime/test_fan_out_of_stages.py": "ray",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Any test to any process, but those of TOGETHER. (Not `--dist loadgroup`: pytest 9.2 ignores
    it.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return TOGETHER.get(nodeid.partition("::")[0], nodeid)

    return Scheduling(config, log)
