"""Many pairs through the training loader in little memory."""

from __future__ import annotations

import multiprocessing
import resource
from pathlib import Path

import pyarrow as pa

from captionseg.modeling.segmenter import InputSpec
from captionseg.training.batches import Batches
from perf.loader import load
from perf.made_up_pairs import write_run

LIMIT = 128 << 20
PATIENCE = 600  # seconds


def make_batch(run: Path) -> None:
    """Load a run with its captions, and make the first batch."""
    data = load(run, InputSpec(tokens="clip"))
    batch = next(iter(Batches(data, batch=64, texts=3, seed=0)))
    assert len(batch.text_concept) == 64


def stay_within(small: Path, run: Path) -> None:
    """Make a batch of `small`, and one of `run` with LIMIT more bytes of address space.

    Imports and pools of threads are no part of them, mapped files are.
    """
    pa.set_cpu_count(1)  # each thread takes address space, and when they start is chance
    pa.set_io_thread_count(1)
    make_batch(small)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, resource.RLIM_INFINITY))
    make_batch(run)


def test_two_hundred_thousand_pairs(tmp_path):
    """Of two rules. With whole tables in memory they need more than twice as much."""
    runs = tmp_path / "small", tmp_path / "run"
    write_run(runs[0], 1000)
    write_run(runs[1], 200_000)
    process = multiprocessing.get_context("fork").Process(target=stay_within, args=runs)
    process.start()
    process.join(PATIENCE)
    process.kill()
    assert process.exitcode == 0
