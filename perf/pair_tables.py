"""Memory of what goes over all pairs and computes little: the plan of segment_text, validate, and
the pairs that index holds.

    python -m perf.pair_tables [--pairs 100000]

Each is measured in a process of its own, on made-up pairs with captions and no segments, for a
quarter of the pairs and for all. Memory is what belongs to the process alone, at most. Bytes a pair
are those of the pairs that the larger run has more; the ratio is that of a whole table of pairs in
Arrow's memory to the plan.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from captionseg.captioners.corpus_captions import Captions
from captionseg.datasets.pair_tables import read_pairs
from captionseg.expectations.coverage_tables import CoverageParams, Folders
from captionseg.expectations.params import ValidateParams
from captionseg.expectations.runner import run
from captionseg.expectations.validate import build_all_suites
from captionseg.indexing import COLUMNS
from captionseg.records import PAIRS, SEGMENTS, TRUTH
from captionseg.segment_text.params import SegmentTextParams
from captionseg.segment_text.pipeline import list_jobs
from captionseg.segment_text.stage_inputs import Inputs
from captionseg.storage.writing import write_json, write_table
from perf.made_up_pairs import SHARD, write_run
from perf.memory import watch_memory

RULE = "cocu"


def write_pairs(folder: Path, count: int) -> None:
    """Write all that both stages read of so many pairs."""
    write_run(folder, count)
    for first in range(0, count, SHARD):
        write_shard(folder / "pairs", first // SHARD, np.arange(first, min(first + SHARD, count)))
    write_table(TRUTH.empty_table(), folder / "truth" / "00000.parquet")
    write_table(SEGMENTS.empty_table(), folder / "segments" / "00000.parquet")
    write_json({}, folder / "segments" / "00000_stats.json")
    write_json({}, folder / "curation.json")
    marks = pa.table({"uid": pa.array([], pa.string())})
    write_table(marks, folder / "supervision" / "marks" / "marks.parquet")


def write_shard(folder: Path, number: int, rows: np.ndarray) -> None:
    """Write the table of a shard of pairs; its pictures are an empty file."""
    texts = {
        "uid": [f"{row:032x}" for row in rows.tolist()],
        "key": [f"{row:09d}" for row in rows.tolist()],
        "url": [f"https://example.org/pictures/of/some/length/{row}.jpg" for row in rows.tolist()],
        "caption": [
            f"a caption of usual length about the things of {row}" for row in rows.tolist()
        ],
        "sha256": [f"{row:064x}" for row in rows.tolist()],
        "original_sha256": [f"{row:064x}" for row in rows.tolist()],
        "phash": [f"{row:016x}" for row in rows.tolist()],
        "source_row": [f"captions.csv:{row}" for row in rows.tolist()],
        "split": ["train"] * len(rows),
        "status": ["success"] * len(rows),
    }
    columns = [
        texts.get(field.name, [320] * len(rows) if field.type == pa.int32() else [None] * len(rows))
        for field in PAIRS
    ]
    write_table(pa.table(columns, schema=PAIRS), folder / f"{number:05d}.parquet")
    counts = {"count": len(rows), "successes": len(rows)}
    write_json(counts, folder / f"{number:05d}_stats.json")
    (folder / f"{number:05d}.tar").touch()


def plan(folder: Path) -> None:
    """List what segment_text has to do."""
    names = ("pairs", "captions", "supervision", "features", "regions")
    inputs = Inputs(*(folder / name for name in names))
    list_jobs(inputs, SegmentTextParams(RULE), folder / "out", Captions())


def validate(folder: Path) -> None:
    """Check all suites with one rule; those of what is not made up fail.

    Pictures should have segments in a split that is empty: of rows that fail, which all of them
    would be, Great Expectations makes lists.
    """
    names = ("pairs", "truth", "index", "features", "regions", "supervision", "segments")
    folders = Folders(*(folder / name for name in names), curation=folder / "curation.json")
    coverage = CoverageParams([RULE], "tune", RULE)
    run(build_all_suites(folders, ValidateParams(), coverage), folder / "docs", examples=3)


def hold_index(folder: Path) -> None:
    """Hold what index reads of all pairs."""
    read_pairs(folder / "pairs", COLUMNS)


def hold(folder: Path) -> None:
    """Hold the table of all pairs."""
    read_pairs(folder / "pairs")


FORMS: dict[str, Callable[[Path], None]] = {
    "plan of segment_text": plan,
    "validate": validate,
    "pairs of index": hold_index,
    "table of pairs": hold,
}


def measure(name: str, folder: Path) -> int:
    """Bytes that a new process gains at most by one of FORMS, after it was imported."""
    command = [sys.executable, "-m", "perf.pair_tables", "--measure", name, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.pair_tables", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        with watch_memory() as peak:
            FORMS[arguments.measure[0]](Path(arguments.measure[1]))
        print(json.dumps(peak.most))
        return
    counts, bytes_a_pair = (arguments.pairs // 4, arguments.pairs), {}
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / str(count) for count in counts]
        for made_up, count in zip(runs, counts, strict=True):
            write_pairs(made_up, count)
        for name in FORMS:
            few, many = (measure(name, made_up) for made_up in runs)
            bytes_a_pair[name] = (many - few) / (counts[1] - counts[0])
            print(
                f"{name:20} {few / 2**20:7.1f} and {many / 2**20:7.1f} MiB, "
                f"{bytes_a_pair[name]:6.0f} bytes a pair"
            )
    held = max(1.0, bytes_a_pair["plan of segment_text"])
    print(f"ratio {bytes_a_pair['table of pairs'] / held:.2f}")


if __name__ == "__main__":
    main()
