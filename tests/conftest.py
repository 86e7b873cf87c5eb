"""Before anything is imported: one thread. Arrays in tests are so small that threads only wait for each other."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

WHOLE = ("test_servers.py", "test_dag.py")  # files whose tests look at one costly thing: all in one process, first


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Any test to any process, but those of a WHOLE file to one. (Not `--dist loadgroup`: pytest 9.2 ignores it.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if file.endswith(WHOLE) else nodeid

    return Scheduling(config, log)
