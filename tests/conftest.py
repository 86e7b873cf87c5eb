"""Before anything is imported: one thread, as arrays in tests are so small that threads only wait
for each other; and the shapes that signatures name are checked at each call.
"""

import gc
import os
import signal
import sys
from pathlib import Path

import jaxtyping
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests start hundreds of processes: each would compile the code again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Until all tests are collected nothing is garbage, and afterwards none of it becomes garbage: the
# collector would go over a million objects again and again.
gc.disable()

# A shell has what runs in the background ignore Ctrl-C, as nohup does with SIGHUP, and so would the
# processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

CHECKED = (
    "captionseg.arrays",
    "captionseg.curation",
    "captionseg.encoders.alignment",
    "captionseg.encoders.dense_head",
    "captionseg.encoders.last_block",
    "captionseg.encoders.reduction",
    "captionseg.encoders.timm_tower",
    "captionseg.grids",
    "captionseg.grounding.concept_detector",
    "captionseg.inference.detections",
    "captionseg.inference.ensemble",
    "captionseg.inference.labelling",
    "captionseg.inference.mask_scores",
    "captionseg.inference.pamr",
    "captionseg.inference.pixels",
    "captionseg.inference.region_pixels",
    "captionseg.inference.windows",
    "captionseg.losses",
    "captionseg.metrics",
    "captionseg.model_inputs",
    "captionseg.modeling",
    "captionseg.records",
    "captionseg.retrieval",
    "captionseg.segmenters.hierarchy",
    "captionseg.segmenters.islands",
    "captionseg.segmenters.overlap",
    "captionseg.segmenters.pooling",
    "captionseg.segmenters.region_files",
    "captionseg.storage.packed",
    "captionseg.supervision",
)
"""Modules and packages whose signatures name shapes."""

# an int is a float, as for pyright
jaxtyping.install_import_hook(
    CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

# What takes longest starts first, or one process would still be at it when the others have ended.
# What stands in one line, files and folders, looks at one costly thing, so one process has it all.
WAITING = (
    (
        "tests/flows/test_servers.py",
        "tests/stages/test_commands_of_documents.py",
        "tests/stages/test_dag.py",
        "tests/stages/test_offline.py",
    ),
    (
        "tests/flows/test_offline.py",
        "tests/flows/test_publish.py",
        "tests/flows/test_reproduce.py",
        "tests/flows/test_runs.py",
        "tests/flows/test_versions.py",
    ),
    ("tests/stages/test_kills.py",),
)
"""What mostly waits for servers and stages that it has started, one after the other."""
COSTLY = (
    *WAITING,
    ("tests/captionseg/training/test_two_processes.py",),
    ("tests/captionseg/test_clip_path.py",),
    (
        "tests/captionseg/runtime/test_fan_out.py",
        "tests/captionseg/runtime/test_fan_out_of_stages.py",
        "tests/captionseg/runtime/test_ray_tasks.py",
    ),
    ("tests/stages/test_sources.py",),
    ("tests/captionseg/tracking/",),
    ("tests/contracts/test_additions.py",),
    ("tests/stages/test_damaged.py",),
    (
        "tests/captionseg/expectations/",
        "tests/captionseg/reporting/test_escaping.py",
        "tests/stages/test_validate.py",
    ),
    ("tests/captionseg/training/test_segments_learned.py",),
    ("tests/captionseg/modeling/test_models.py",),
)


def find_group(nodeid):
    """The line of COSTLY that names the file of a test; after these, all others."""
    found = (number for number, paths in enumerate(COSTLY) if nodeid.startswith(paths))
    return next(found, len(COSTLY))


@pytest.fixture(scope="session")
def dag(tmp_path_factory):
    """One run of the whole DAG, at which tests look from several sides; see whole_dag.py."""
    from tests.whole_dag import reproduce

    return reproduce(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def tiny_sam3(tmp_path_factory):
    """The folder of a random SAM 3 of transformers."""
    from tests.tiny_sam3 import save_sam3

    return save_sam3(tmp_path_factory.mktemp("sam3"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One more than there are cores, for one of them mostly waits."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_configure(config):
    """What waits goes first wherever it can go on, and the other processes take what is left."""
    if worker := getattr(config, "workerinput", None):
        name, count = worker["workerid"], worker["workercount"]
        if not is_last(name, count):
            os.nice(5)
        config.args = rotate(config.args, int(name.removeprefix("gw")), count)


def is_last(name, count):
    """Whether a process of xdist is the one that begins with what waits."""
    return count > 1 and name == f"gw{count - 1}"


def rotate(args, number, count):
    """The files that arguments of pytest name, from another one on for each process of xdist.

    Each process collects all tests. In a fresh clone the first to come to a file compiles it, and
    that takes as long as all else: begun at the same file, all would compile the same.
    """
    paths = [Path(arg) for arg in args]
    found = [sorted(p.rglob("test_*.py")) if p.is_dir() else [arg] for p, arg in zip(paths, args)]
    files = [str(file) for files in found for file in files]
    start = len(files) * number // count
    return files[start:] + files[:start]


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    # by file: xdist wants one order, and each process has collected in another
    items.sort(key=lambda item: (find_group(item.nodeid), item.nodeid.partition("::")[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file to a process, or fixtures of a file would be made more than once. (Not `--dist
    loadfile`: it starts with the files of most tests, not with those that take longest.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            group = find_group(nodeid)
            return nodeid.partition("::")[0] if group == len(COSTLY) else group

        def _assign_work_unit(self, node):
            # the last process begins with what waits, so the others keep the cores busy
            last = is_last(node.gateway.id, len(self.nodes))
            preferred = (
                scope
                for scope in self.workqueue
                if (isinstance(scope, int) and scope < len(WAITING)) == last
            )
            if (scope := next(preferred, None)) is not None:
                self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

    config.option.loadscopereorder = False
    return Scheduling(config, log)
