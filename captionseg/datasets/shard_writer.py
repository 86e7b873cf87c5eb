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

from captionseg.datasets.earlier_download import Earlier, is_asked_again
from captionseg.datasets.progress import Progress
from captionseg.datasets.truth_masks import encode_mask
from captionseg.records import PAIRS, TRUTH, make_uid
from captionseg.sources.phash import hash_jpeg
from captionseg.storage.writing import atomic_path, write_json, write_table

if TYPE_CHECKING:
    from captionseg.sources.source import Sample, Source

Job = tuple[int, str, range]  # number of the shard, its split, its rows
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
"""Columns that a sample has in its .json too, as img2dataset's have."""


def write_shard(
    source: Source,
    job: Job,
    *,
    pairs: Path,
    truth: Path,
    seed: int,
    stamp: str,
    earlier: Earlier | None = None,
) -> Progress:
    """One shard, its stats with the stamp of its source last."""
    number, _, rows = job
    name = f"{number:05d}"
    before = earlier.read_rows(name, len(rows)) if earlier else None
    if earlier and before and not any(map(is_asked_again, before)):
        earlier.copy(name, pairs, truth)
        return Progress(len(rows), 0, Counter(row["reason"] or row["status"] for row in before))
    samples = make_samples(source, job, seed=seed, earlier=earlier, before=before)
    keys = [f"{name}{i:04d}" for i in range(len(samples))]
    uids = [make_uid(s.url, s.caption) for s in samples]
    with (
        atomic_path(pairs / f"{name}.tar") as part,
        tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        table = tabulate_pairs(samples, keys, uids)
        for row, sample in zip(table.select(IN_TAR).to_pylist(), samples, strict=True):
            if sample.jpeg is not None:
                add(tar, f"{row['key']}.jpg", sample.jpeg)
                add(tar, f"{row['key']}.txt", sample.caption.encode())
                add(tar, f"{row['key']}.json", json.dumps(row, sort_keys=True).encode())
    write_table(table, pairs / f"{name}.parquet")
    known = tabulate_truth(samples, uids)
    write_table(known, truth / f"{name}.parquet")
    count = Counter(s.status for s in samples)
    write_json(
        {
            "count": len(samples),
            "successes": count["success"],
            "failed_to_download": count["failed_to_download"],
            "failed_to_resize": count["failed_to_resize"],
            "status_dict": dict(count),
            "known": len(known),
            "source": stamp,
        },
        pairs / f"{name}_stats.json",
    )
    received = sum(sample.original_bytes for sample in samples)
    return Progress(len(samples), received, Counter(s.reason or s.status for s in samples))


def make_samples(
    source: Source,
    job: Job,
    *,
    seed: int,
    earlier: Earlier | None,
    before: list[dict[str, Any]] | None,
) -> list[Sample]:
    """The samples of a shard; those that the earlier one has are not asked for."""
    number, split, rows = job
    if earlier is None or before is None:
        return source.samples(split, rows, seed=seed)
    kept = dict(earlier.read_samples(f"{number:05d}", before))
    asked = [rows[i] for i in range(len(rows)) if i not in kept]
    fresh = iter(source.samples(split, asked, seed=seed))
    return [kept[i] if i in kept else next(fresh) for i in range(len(rows))]


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A member without owner and time, so that equal samples make equal files."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def tabulate_pairs(samples: Sequence[Sample], keys: Sequence[str], uids: Sequence[str]) -> pa.Table:
    """Schema PAIRS."""
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
    """Schema TRUTH, rows with a known mask only."""
    rows = [
        {"uid": uid, "concepts": list(s.concepts), "mask": encode_mask(s.mask)}
        for uid, s in zip(uids, samples, strict=True)
        if s.mask is not None and s.jpeg is not None
    ]
    return pa.Table.from_pylist(rows, schema=TRUTH)
