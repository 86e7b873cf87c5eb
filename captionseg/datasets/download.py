"""Writes all shards of a source: NNNNN.tar, NNNNN.parquet with a row per source row, and
NNNNN_stats.json last, as img2dataset does.

stats.json lacks img2dataset's durations and times of day. With them, two equal downloads would
differ, and so would everything that depends on their hash.
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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from captionseg.datasets.earlier_download import EarlierDownload, find_aside, set_aside
from captionseg.datasets.integrity import find_flaw
from captionseg.datasets.progress import Meter, Progress
from captionseg.datasets.shard_writer import Job, write_shard
from captionseg.records import PAIRS, UserError
from captionseg.runtime.fan_out import count_workers, spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.sources.source import SharedSource
from captionseg.storage.writing import atomic_path, remove_parts, write_json

if TYPE_CHECKING:
    from captionseg.sources.source import Source


log = logging.getLogger(__name__)


def plan_shards(splits: dict[str, int], shard_size: int) -> list[Job]:
    """The shards of a source; each has rows of one split.

    Args:
        splits: split -> number of its rows.
        shard_size: most rows per shard.
    """
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
    """Write all shards of a source that are not finished yet, several at once.

    Args:
        source: of the samples.
        pairs: folder; a finished shard is left as it is, unless it is of other rows.
        truth: folder for concepts and masks, where they are known.
        shard_size: source rows per shard.
        min_success: smallest share of rows that may succeed.
        seed: of the samples.
        runtime: what shards are spread over.
        earlier: pairs and truth of an earlier download. Of its shards of the same rows, only rows
            that failed to download are requested again; None downloads all rows.

    Returns:
        pairs, the number of successful rows, and download_success, their share.

    Raises:
        UserError: if there is no row, or too few succeed; with the counts per reason.
    """
    listing = pairs.with_name("listing")
    source.prepare(listing)
    jobs = plan_shards(source.splits(), shard_size)
    if not jobs:
        raise UserError(
            "download: the source has no rows; check its settings in params.yaml: download"
        )
    pairs.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    stamp = hashlib.sha256(f"{source!r} {seed} {shard_size}".encode()).hexdigest()[:16]
    finished = keep_finished(pairs, truth, jobs, stamp)
    finished, earlier = resume_retry(pairs, truth, finished, len(jobs), earlier)
    missing = [job for job in jobs if f"{job[0]:05d}" not in finished]
    source, runtime = share_source(source, runtime, len(missing))
    write = functools.partial(
        write_shard,
        source,
        pairs=pairs,
        truth=truth,
        seed=seed,
        stamp=stamp,
        earlier=EarlierDownload.find(earlier, [f"{job[0]:05d}" for job in jobs], stamp),
    )
    write_missing(write, missing, runtime)
    shutil.rmtree(listing, ignore_errors=True)
    finish_download(source, pairs, truth, jobs, stamp)
    summary = summarize(pairs, min_success)
    shutil.rmtree(find_aside(pairs)[0].parent, ignore_errors=True)
    return summary


def resume_retry(
    pairs: Path, truth: Path, finished: set[str], shards: int, earlier: tuple[Path, Path] | None
) -> tuple[set[str], tuple[Path, Path] | None]:
    """The finished shards and the earlier download, where an earlier try had too few successes.

    Args:
        pairs: folder of shards.
        truth: folder of their truth.
        finished: names of the finished shards in it.
        shards: number of all shards.
        earlier: folders of the earlier download; None where nothing is tried again.
    """
    if earlier and len(finished) == shards:
        return set(), set_aside(pairs, truth)
    if earlier and find_aside(pairs)[0].is_dir():
        return finished, find_aside(pairs)
    return finished, earlier


def write_missing(
    write: Callable[[Job], Progress], jobs: Sequence[Job], runtime: RuntimeParams
) -> None:
    """Write shards in several processes, with a progress bar.

    Args:
        write: writes one shard.
        jobs: the shards.
        runtime: what they are spread over.
    """
    meter = Meter()
    with tqdm(total=sum(len(rows) for _, _, rows in jobs), desc="download", unit="img") as bar:
        for progress in spread(
            write, jobs, runtime, called=lambda job: f"download: shard {job[0]:05d}"
        ):
            meter.add(progress)
            bar.set_postfix_str(str(meter), refresh=False)
            bar.update(progress.rows)


def finish_download(
    source: Source, pairs: Path, truth: Path, jobs: Sequence[Job], stamp: str
) -> None:
    """Check all shards, and write the classes and the licences of the source.

    Raises:
        UserError: if a shard is damaged.
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
            part.write_text(text, encoding="utf-8")


def keep_finished(pairs: Path, truth: Path, jobs: Sequence[Job], stamp: str) -> set[str]:
    """Delete what a killed run left, shards of other rows and damaged ones.

    Otherwise a source whose listing changed between two runs would lose rows and have others twice.

    Returns:
        names of the shards that remain.
    """
    finished = set()
    for number, _, rows in jobs:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            name = f"{number:05d}"
            if (
                json.loads((pairs / f"{name}_stats.json").read_text(encoding="utf-8")).get("source")
                == stamp
            ):
                if reason := find_flaw(pairs, truth, name, rows=len(rows), stamp=stamp):
                    log.warning(
                        "shard %s of %s is not whole (%s): it is made again", name, pairs, reason
                    )
                else:
                    finished.add(name)
    for file in [*pairs.iterdir(), *truth.iterdir()]:
        shard = re.fullmatch(r"(\d{5,})(\.tar|\.parquet|_stats\.json)", file.name)
        if (shard and shard[1] not in finished) or re.fullmatch(r"\..+\.part", file.name):
            file.unlink()
    return finished


def summarize(pairs: Path, min_success: float) -> dict[str, float]:
    """Counts over all shards.

    Raises:
        UserError: if no row succeeded, or a smaller share of them than `min_success`.
    """
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
    """The source and the runtime, with as many workers as the limits of the source allow."""
    if not isinstance(source, SharedSource):
        return source, runtime
    count = count_workers(runtime, jobs)
    limit = source.max_workers()
    workers = min(count, limit) if count else limit
    return source.share(workers), replace(runtime, workers=workers)


def describe_failures(table: pa.Table) -> str:
    """One line: how many rows of PAIRS failed for each reason, the most frequent first, each with
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
