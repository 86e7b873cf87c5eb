"""The files of one shard: img2dataset's tar, parquet and stats, and its truth."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from captionseg.datasets.earlier_download import EarlierDownload, is_asked_again
from captionseg.datasets.progress import Progress
from captionseg.datasets.shard_images import PLACE, encode_place
from captionseg.datasets.truth_masks import encode_mask
from captionseg.records import PAIRS, TRUTH, make_uid
from captionseg.sources.phash import hash_jpeg
from captionseg.storage.writing import atomic_path, write_json, write_table

if TYPE_CHECKING:
    from captionseg.sources.source import Sample, Source

Job = tuple[int, str, range]
"""Number of a shard, its split, and its rows of that split."""

IN_TAR = [
    "uid",
    "key",
    "url",
    "caption",
    "split",
    "status",
    "error_message",
    "sha256",
    "width",
    "height",
    "original_width",
    "original_height",
]
"""Columns that the .json of a sample has too, as img2dataset writes them."""


def write_shard(
    source: Source,
    job: Job,
    *,
    pairs: Path,
    truth: Path,
    seed: int,
    stamp: str,
    earlier: EarlierDownload | None = None,
) -> Progress:
    """Write the files of one shard, its stats last: a shard with stats is finished.

    Args:
        source: of the samples.
        job: which of its rows.
        pairs: folder of shards.
        truth: folder of their truth.
        seed: of the samples.
        stamp: hash of the source and its settings, for the stats.
        earlier: samples that this download has are not made anew.
    """
    number, _, rows = job
    name = f"{number:05d}"
    earlier_rows = earlier.read_rows(name, len(rows)) if earlier else None
    if earlier and earlier_rows and not any(map(is_asked_again, earlier_rows)):
        earlier.copy(name, pairs, truth)
        outcomes = Counter(row["reason"] or row["status"] for row in earlier_rows)
        return Progress(len(rows), 0, outcomes)
    samples = make_samples(source, job, seed=seed, earlier=earlier, earlier_rows=earlier_rows)
    keys = [f"{name}{i:04d}" for i in range(len(samples))]
    uids = [make_uid(sample.url, sample.caption) for sample in samples]
    table, truths = tabulate_pairs(samples, keys, uids), tabulate_truth(samples, uids)
    write_tar(table, samples, pairs / f"{name}.tar")
    write_table(table, pairs / f"{name}.parquet")
    write_table(truths, truth / f"{name}.parquet")
    stats = count_statuses(samples) | {"known": len(truths), "source": stamp}
    write_json(stats, pairs / f"{name}_stats.json")
    received = sum(sample.original_bytes for sample in samples)
    return Progress(len(samples), received, Counter(s.reason or s.status for s in samples))


def write_tar(table: pa.Table, samples: Sequence[Sample], path: Path) -> None:
    """Write image, caption and metadata of each successful sample; of an image that stays where it
    is, its place.

    Args:
        table: [N] rows of PAIRS.
        samples: [N] of the same rows.
        path: of the tar.
    """
    with atomic_path(path) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row, sample in zip(table.select(IN_TAR).to_pylist(), samples, strict=True):
            if sample.jpeg is not None:
                if sample.place is None:
                    add_member(tar, f"{row['key']}.jpg", sample.jpeg)
                else:
                    add_member(tar, f"{row['key']}{PLACE}", encode_place(sample.place))
                add_member(tar, f"{row['key']}.txt", sample.caption.encode())
                add_member(tar, f"{row['key']}.json", json.dumps(row, sort_keys=True).encode())


def count_statuses(samples: Sequence[Sample]) -> dict[str, Any]:
    """The counts of img2dataset's stats, without durations and times of day."""
    count = Counter(sample.status for sample in samples)
    return {
        "count": len(samples),
        "successes": count["success"],
        "failed_to_download": count["failed_to_download"],
        "failed_to_resize": count["failed_to_resize"],
        "status_dict": dict(count),
    }


def make_samples(
    source: Source,
    job: Job,
    *,
    seed: int,
    earlier: EarlierDownload | None,
    earlier_rows: list[dict[str, Any]] | None,
) -> list[Sample]:
    """The samples of a shard; those that the earlier download has are not asked for."""
    number, split, rows = job
    if earlier is None or earlier_rows is None:
        return source.samples(split, rows, seed=seed)
    earlier_samples = dict(earlier.read_samples(f"{number:05d}", earlier_rows))
    missing = [rows[i] for i in range(len(rows)) if i not in earlier_samples]
    fresh = iter(source.samples(split, missing, seed=seed))
    return [earlier_samples[i] if i in earlier_samples else next(fresh) for i in range(len(rows))]


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a member without owner and time, so that equal samples make equal files."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def tabulate_pairs(samples: Sequence[Sample], keys: Sequence[str], uids: Sequence[str]) -> pa.Table:
    """Rows of schema PAIRS of N samples, with their N keys and uids."""
    rows = [
        {
            "uid": uid,
            "key": key,
            "url": s.url,
            "caption": s.caption,
            "split": s.split,
            "status": s.status,
            "error_message": s.error,
            "sha256": hashlib.sha256(s.jpeg).hexdigest() if s.jpeg is not None else None,
            "width": s.width or None,
            "height": s.height or None,
            "original_width": s.original_width or s.width or None,
            "original_height": s.original_height or s.height or None,
            "original_sha256": s.original_sha256 or None,
            "phash": s.phash or (hash_jpeg(s.jpeg) if s.jpeg is not None else None),
            "reason": s.reason,
            "held_out_captions": list(s.held_out),
            "source_row": s.source_row or s.url,
        }
        for uid, key, s in zip(uids, keys, samples, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def tabulate_truth(samples: Sequence[Sample], uids: Sequence[str]) -> pa.Table:
    """Rows of schema TRUTH, of those samples whose mask is known."""
    rows = [
        {"uid": uid, "concepts": list(s.concepts), "mask": encode_mask(s.mask)}
        for uid, s in zip(uids, samples, strict=True)
        if s.mask is not None and s.jpeg is not None
    ]
    return pa.Table.from_pylist(rows, schema=TRUTH)
