"""Curation in little memory: the whole stage on made-up pairs, in a process whose addresses are
limited, memory-mapped files and libraries included. (Arrow's own allocator reserves a gibibyte
whether it is used or not, and each thread of malloc's 64 MB, so both are switched off.)

    python -m tests.soak.memory [--pairs 200000] [--gibibytes 2] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

from perf.curation import NEIGHBOURS, run
from perf.made_up_index import name_concepts, write_index

FRUGAL = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
"""Environment in which little is reserved that is not used."""


def curate(folder: Path, pairs: int, concepts: int, limit: int) -> None:
    """Make an index, then limit this process to so many bytes of addresses, and curate."""
    inputs = write_index(folder, pairs, concepts=concepts, neighbours=NEIGHBOURS)
    words = folder / "words.txt"
    words.write_text("\n".join(name_concepts(concepts)))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    run(inputs, folder / "supervision", words, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.memory", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--concepts", type=int, default=20_000)
    parser.add_argument("--gibibytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    os.environ |= FRUGAL
    limit = int(arguments.gibibytes * 2**30)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        process = get_context("spawn").Process(
            target=curate, args=(Path(folder), arguments.pairs, arguments.concepts, limit)
        )
        process.start()
        process.join()
    if process.exitcode:
        sys.exit(f"{arguments.pairs} pairs do not fit {arguments.gibibytes:g} GiB of addresses")
    sys.stdout.write(f"{arguments.pairs} pairs fit {arguments.gibibytes:g} GiB of addresses\n")


if __name__ == "__main__":
    main()
