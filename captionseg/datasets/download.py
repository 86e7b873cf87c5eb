"""img2dataset's shards, written and read: NNNNN.tar, NNNNN.parquet with a row per source row,
NNNNN_stats.json last.

stats.json lacks img2dataset's durations and times of day: they would make two equal downloads
differ, and with them everything that depends on their hash.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from captionseg.datasets.earlier_download import Earlier, find_aside, set_aside
from captionseg.datasets.integrity import find_flaw
from captionseg.datasets.progress import Meter
from captionseg.datasets.shard_writer import Job, write_shard
from captionseg.records import PAIRS, UserError
from captionseg.runtime.fan_out import count_workers, spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.sources.source import SharedSource
from captionseg.storage.writing import atomic_path, remove_parts, write_json

if TYPE_CHECKING:
    from captionseg.sources.source import Source


log = logging.getLogger(__name__)


def plan(splits: dict[str, int], shard_size: int) -> list[Job]:
    """The shards of a source; a shard holds rows of one split."""
    jobs: list[Job] = []
    for split, count in splits.items():
        for start in range(0, count, shard_size):
            jobs.append((len(jobs), split, range(start, min(start + shard_size, count))))
    return jobs


def write_shards(
    source: Source,
    pairs: Path,
    truth: Path,
    *,
    shard_size: int,
    min_success: float,
    seed: int,
    runtime: RuntimeParams = HERE,
    earlier: tuple[Path, Path] | None = None,
) -> dict[str, float]:
    """Make all shards of a source that are not committed yet, several at once.

    Args:
        source: gives the samples.
        pairs: folder; a shard with NNNNN_stats.json is left as it is, unless it is of other rows.
        truth: folder beside it.
        shard_size: source rows a shard.
        min_success: smallest share of rows that may succeed.
        seed: of the samples.
        runtime: what shards are spread over.
        earlier: pairs and truth of an earlier download. Of its shards of the same rows only those
            rows are asked for again that failed to download; None makes all anew.

    Returns:
        pairs, download_success.

    Raises:
        UserError: when there is no row, or too few succeed; with the counts per reason.
    """
    listing = pairs.with_name("listing")
    source.prepare(listing)
    jobs = plan(source.splits(), shard_size)
    if not jobs:
        raise UserError(
            "download: the source has no rows; check its settings in params.yaml: download"
        )
    pairs.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    stamp = hashlib.sha256(f"{source!r} {seed} {shard_size}".encode()).hexdigest()[:16]
    done = keep_finished(pairs, truth, jobs, stamp)
    if earlier and len(done) == len(jobs):
        done, earlier = set(), set_aside(pairs, truth)
    elif earlier and find_aside(pairs)[0].is_dir():
        earlier = find_aside(pairs)
    todo = [job for job in jobs if f"{job[0]:05d}" not in done]
    source, runtime = share_source(source, runtime, len(todo))
    write = functools.partial(
        write_shard,
        source,
        pairs=pairs,
        truth=truth,
        seed=seed,
        stamp=stamp,
        earlier=Earlier.find(earlier, [f"{job[0]:05d}" for job in jobs], stamp),
    )
    meter = Meter()
    with tqdm(total=sum(len(rows) for _, _, rows in todo), desc="download", unit="img") as bar:
        for progress in spread(
            write, todo, runtime, called=lambda job: f"download: shard {job[0]:05d}"
        ):
            meter.add(progress)
            bar.set_postfix_str(str(meter), refresh=False)
            bar.update(progress.rows)
    shutil.rmtree(listing, ignore_errors=True)
    finish(source, pairs, truth, jobs, stamp)
    found = summarize(pairs, min_success)
    shutil.rmtree(find_aside(pairs)[0].parent, ignore_errors=True)
    return found


def finish(source: Source, pairs: Path, truth: Path, jobs: Sequence[Job], stamp: str) -> None:
    """Write what stands beside the shards.

    Raises:
        UserError: if a shard is not whole.
    """
    for folder in (pairs, truth):
        remove_parts(folder)
    for number, _, rows in jobs:
        if reason := find_flaw(pairs, truth, f"{number:05d}", rows=len(rows), stamp=stamp):
            raise UserError(
                f"download: shard {number:05d} of {pairs} is not whole ({reason}), so nothing is "
                "put in place; run it again, this shard is then made anew"
            )
    classes = source.classes()
    write_json({"names": list(classes.names), "kinds": list(classes.kinds)}, truth / "classes.json")
    if text := source.licences():
        with atomic_path(pairs / "licences.csv") as part:
            part.write_text(text)


def keep_finished(pairs: Path, truth: Path, jobs: Sequence[Job], stamp: str) -> set[str]:
    """Delete what a killed run left, shards of other rows, and those that are not whole; the names
    of the shards that stay.

    Without it a source whose listing changed between two runs would lose rows and have others
    twice.
    """
    done = set()
    for number, _, rows in jobs:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            name = f"{number:05d}"
            if json.loads((pairs / f"{name}_stats.json").read_text()).get("source") == stamp:
                if reason := find_flaw(pairs, truth, name, rows=len(rows), stamp=stamp):
                    log.warning(
                        "shard %s of %s is not whole (%s): it is made again", name, pairs, reason
                    )
                else:
                    done.add(name)
    for file in [*pairs.iterdir(), *truth.iterdir()]:
        shard = re.fullmatch(r"(\d{5,})(\.tar|\.parquet|_stats\.json)", file.name)
        if (shard and shard[1] not in done) or re.fullmatch(r"\..+\.part", file.name):
            file.unlink()
    return done


def summarize(pairs: Path, min_success: float) -> dict[str, float]:
    """Counts over all committed shards; too few successes are an error."""
    table = pa.concat_tables(
        [pq.read_table(file, schema=PAIRS) for file in sorted(pairs.glob("*.parquet"))]
    )
    status = Counter(table["status"].to_pylist())
    share = status["success"] / max(1, len(table))
    if not status["success"] or share < min_success:
        raise UserError(
            f"download: {status['success']} of {len(table)} rows succeeded, below "
            f"download.min_success = {min_success}: {describe_failures(table)}"
        )
    return {"pairs": float(status["success"]), "download_success": share}


def share_source(source: Source, runtime: RuntimeParams, jobs: int) -> tuple[Source, RuntimeParams]:
    """The source and the runtime, so that all processes keep to the limits of the source."""
    if not isinstance(source, SharedSource):
        return source, runtime
    count = count_workers(runtime, jobs)
    most = source.most_workers()
    workers = min(count, most) if count else most
    return source.share(workers), replace(runtime, workers=workers)


def describe_failures(table: pa.Table) -> str:
    """How many rows of a table of PAIRS failed for each reason, the most frequent first, each with
    its most frequent message.
    """
    counts: dict[str, Counter[str]] = {}
    for row in table.select(["status", "reason", "error_message"]).to_pylist():
        if row["status"] != "success":
            messages = counts.setdefault(row["reason"] or row["status"], Counter())
            messages[row["error_message"] or ""] += 1
    ordered = sorted(counts.items(), key=lambda item: -item[1].total())
    return "; ".join(
        f"{messages.total()} x {reason}: {messages.most_common(1)[0][0]}"
        for reason, messages in ordered
    )
