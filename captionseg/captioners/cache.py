"""Generates captions for a folder of pairs; captions on disk are not generated again.

OUT/KEY/NNNNN.parquet has the captions of a finished shard, OUT/KEY/NNNNN.parts/ those of a shard in
progress, one file per batch; KEY is the captioner's. Newer rows override older ones.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from captionseg.captioners.captioner import Captioner, CaptionError, NoCaption, tidy_answer
from captionseg.datasets.pair_tables import list_shards, read_shard
from captionseg.datasets.shard_images import read_images
from captionseg.records import CAPTIONS, UserError
from captionseg.storage.reading import read_table
from captionseg.storage.writing import write_table

log = logging.getLogger(__name__)
HOPELESS = 50  # failures in a row that end a run


@dataclass
class _Run:
    """The state of a run: captioner, folder and counts. `home`: uid -> shard on disk."""

    captioner: Captioner
    folder: Path
    bar: tqdm
    home: dict[str, str] = field(default_factory=dict)
    count: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    in_a_row: int = 0


def caption(
    pairs: Path,
    captioner: Captioner,
    out: Path,
    *,
    uids: Collection[str] | None = None,
    retry_failed: bool = True,
) -> dict[str, float]:
    """Caption the pictures of a folder of pairs, one batch in memory at a time; a killed run
    resumes.

    Args:
        pairs: shards of pairs.
        captioner: the captioner.
        out: folder for the captions of all captioners; kept between runs.
        uids: only these; None for all.
        retry_failed: retry pictures that failed in an earlier run.

    Returns:
        images, captioned, failed and missing (including earlier runs), asked (in this run),
        words_per_caption.

    Raises:
        UserError: if there are no captions, if 50 pictures in a row failed, or the captioner cannot
            work.
    """
    with tqdm(total=count_pictures(pairs, uids), desc="caption", unit="img") as bar:
        run = _Run(captioner, Path(out) / captioner.key, bar)
        for shard in sorted(
            {file.name.partition(".")[0] for file in run.folder.glob("[0-9]*.par*")}
        ):
            run.home.update(
                (row["uid"], shard) for row in read_earlier_rows(run.folder, shard, spare=True)
            )
        for shard in list_shards(pairs):
            _caption_shard(run, pairs, shard, uids=uids, retry=retry_failed)
    return summarize(run)


def count_pictures(pairs: Path, uids: Collection[str] | None) -> int:
    """Count the pictures to caption."""
    if uids is not None:
        return len(set(uids))
    tables = (read_shard(pairs, shard) for shard in list_shards(pairs))
    return sum(table["status"].to_pylist().count("success") for table in tables)


def read_earlier_rows(folder: Path, shard: str, *, spare: bool = False) -> list[dict]:
    """Read the newest row per picture of a shard from earlier runs.

    Args:
        folder: folder of one configuration, OUT/KEY.
        shard: the shard.
        spare: rename a damaged file and log a warning instead of raising an error, because its
            captions will be generated again.

    Raises:
        UserError: for an unreadable file.
    """
    parts = sorted((folder / f"{shard}.parts").glob("[0-9]*.parquet"))
    rows = {}
    for file in [
        *([finished] if (finished := folder / f"{shard}.parquet").exists() else []),
        *parts,
    ]:
        todo = "delete it to generate its captions again"
        try:
            table = read_table(file, schema=CAPTIONS, todo=todo)
        except UserError as error:
            cause = error.__context__
            # the file is damaged, not the disk
            if spare and not (isinstance(cause, OSError) and cause.errno):
                aside = file.rename(file.with_name(f"{file.name}.unreadable"))
                log.warning(
                    "%s, so its captions are generated again; the file was renamed to %s",
                    str(error).removesuffix(f"; {todo}"),
                    aside.name,
                )
                continue
            raise
        rows.update((row["uid"], row) for row in table.to_pylist())
    return list(rows.values())


def _find_moved_rows(run: _Run, uids: Collection[str]) -> dict[str, dict]:
    """Find rows of pictures that were in other shards when they were captioned."""
    homes = sorted({run.home[uid] for uid in uids if uid in run.home})
    return {
        row["uid"]: row
        for home in homes
        for row in read_earlier_rows(run.folder, home, spare=True)
        if row["uid"] in uids
    }


def _caption_shard(
    run: _Run, pairs: Path, shard: str, *, uids: Collection[str] | None, retry: bool
) -> None:
    """Caption the missing pictures of a shard batch by batch, then merge all rows to one file."""
    rows = read_shard(pairs, shard).select(["uid", "caption", "url", "status"])
    pairs_to_caption = {
        row["uid"]: row
        for row in rows.to_pylist()
        if row["status"] == "success" and (uids is None or row["uid"] in uids)
    }
    known = {row["uid"]: row for row in read_earlier_rows(run.folder, shard, spare=True)}
    moved = _find_moved_rows(run, pairs_to_caption.keys() - known.keys())
    known |= moved
    done = {
        uid
        for uid, row in known.items()
        if uid in pairs_to_caption
        and row["caption"] == pairs_to_caption[uid]["caption"]
        and (row["status"] == "success" or not retry)
    }
    for uid in done:
        _count_row(run, known[uid])
    missing = {uid: row for uid, row in pairs_to_caption.items() if uid not in done}
    new = _caption_missing(run, pairs, shard, missing)
    parts = run.folder / f"{shard}.parts"
    if moved or parts.exists():
        merged = {**known, **new}
        write_table(
            pa.Table.from_pylist(list(merged.values()), schema=CAPTIONS),
            run.folder / f"{shard}.parquet",
        )
    if parts.exists():
        # renamed first, because a partial deletion would leave older rows
        parts_folder = run.folder / f".{shard}.parts"
        shutil.rmtree(parts_folder, ignore_errors=True)
        parts.rename(parts_folder)
        shutil.rmtree(parts_folder)


def _caption_missing(
    run: _Run, pairs: Path, shard: str, missing: dict[str, dict]
) -> dict[str, dict]:
    """Caption pictures of a shard, uid -> row of the pairs, and write a file for each batch.

    Returns:
        uid -> row of CAPTIONS.
    """
    parts = run.folder / f"{shard}.parts"
    number = 1 + max((int(file.stem) for file in parts.glob("[0-9]*.parquet")), default=-1)
    new: dict[str, dict] = {}
    images = read_images(pairs, shard, missing.keys()) if missing else iter(())
    for batch in read_batches(images, max(1, run.captioner.batch)):
        batch = {uid: image for uid, image in batch.items() if uid not in new}
        captioned = _ask(run, [missing[uid] for uid in batch], list(batch.values()))
        write_table(
            pa.Table.from_pylist(captioned, schema=CAPTIONS), parts / f"{number:06d}.parquet"
        )
        number += 1
        new.update((row["uid"], row) for row in captioned)
    return new


def read_batches(
    images: Iterator[tuple[str, np.ndarray]], size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield batches of uid -> picture."""
    batch: dict[str, np.ndarray] = {}
    for uid, image in images:
        batch[uid] = image
        if len(batch) == size:
            yield batch
            batch = {}
    if batch:
        yield batch


def _ask(run: _Run, rows: list[dict], images: list[np.ndarray]) -> list[dict]:
    """Caption a batch and return rows of CAPTIONS; after a failure each picture is retried
    alone.
    """
    try:
        answers = run.captioner.captions(
            images,
            [row["caption"] for row in rows],
            uids=[row["uid"] for row in rows],
            urls=[row["url"] for row in rows],
        )
        captioned = [
            _row(run, row, tidy_answer(text)) for row, text in zip(rows, answers, strict=True)
        ]
    except CaptionError as error:
        if len(rows) > 1:
            return [_ask(run, [row], [image])[0] for row, image in zip(rows, images, strict=True)]
        captioned = [
            {**_row(run, rows[0], ""), "status": error.status, "error_message": str(error)}
        ]
    for row in captioned:
        run.count["asked"] += 1
        run.in_a_row = (
            0 if row["status"] == "success" else run.in_a_row + (row["status"] == "failed")
        )
        _count_row(run, row)
    if run.in_a_row >= HOPELESS:
        raise UserError(
            f"captions: {run.in_a_row} pictures in a row failed, the last with: "
            f"{captioned[-1]['error_message']}; fix the captioner and run again, which retries "
            "the failed pictures"
        )
    return captioned


def _row(run: _Run, row: dict, text: str) -> dict:
    """Convert an answer to a row; an empty answer is a failure."""
    return {
        "uid": row["uid"],
        "caption": row["caption"],
        "captioner": run.captioner.key,
        "generated": text or None,
        "status": "success" if text else "failed",
        "error_message": None if text else "empty answer",
    }


def _count_row(run: _Run, row: dict) -> None:
    """Count a finished row, from this or an earlier run."""
    run.count.update({row["status"]: 1, "words": len((row["generated"] or "").split())})
    if row["status"] != "success":
        # one reason for all, because each message names its own picture
        run.reasons[
            "no caption in the file" if row["status"] == NoCaption.status else row["error_message"]
        ] += 1
    run.bar.update()


def list_reasons(reasons: Counter[str]) -> str:
    """List the most common reasons on one line."""
    return "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))


def summarize(run: _Run) -> dict[str, float]:
    """Return the measures of `caption`.

    Raises:
        UserError: if there is no caption for any picture.
    """
    count = run.count
    images = count["success"] + count["failed"] + count["missing"]
    if not count["success"]:
        raise UserError(
            f"captions: no caption for any of {images} pictures: "
            f"{list_reasons(run.reasons) or 'there are no such pictures'}"
        )
    return {
        "images": float(images),
        "captioned": float(count["success"]),
        "failed": float(count["failed"]),
        "missing": float(count["missing"]),
        "asked": float(count["asked"]),
        "words_per_caption": count["words"] / count["success"],
    }
