"""Curation in little memory; tests/soak/memory.py has 200,000 pairs in 2 GiB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.memory import FRUGAL

ROOT = Path(__file__).parents[3]

PROGRAM = """
import re, sys
from pathlib import Path
from tests.soak.memory import curate

own = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
curate(Path(sys.argv[1]), 3000, 20_000, own + int(sys.argv[2]) * 2**20)
"""


def run(folder: Path, mebibytes: int) -> subprocess.CompletedProcess[str]:
    """Curate 3,000 pairs with 20,000 concepts in so much more than the interpreter needs."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(mebibytes)],
        cwd=ROOT,
        env={**os.environ, **FRUGAL},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it reads Linux's own numbers")
def test_memory_does_not_grow_with_images_times_concepts(tmp_path: Path) -> None:
    """A chunk of 1,024 images with all concepts is 156 MiB in double precision, and several of them
    do not fit.
    """
    done = run(tmp_path, 640)
    assert done.returncode == 0, done.stderr[-2000:]
    rules = {path.parent.name for path in (tmp_path / "supervision").rglob("00000.parquet")}
    assert rules == {"nouns", "caption_retrieval", "cocu", "cocu_calibrated"}
