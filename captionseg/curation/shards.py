"""The jobs of curation: a rule writes the supervision of one shard, and one shard is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from captionseg.curation.corpus import Shard
from captionseg.curation.held_out import align_vocabulary, compare_held_out
from captionseg.curation.measure import count
from captionseg.curation.rule import Fitted, Rule, supervise
from captionseg.curation.shared import Shared
from captionseg.runtime.fan_out import PerProcess
from captionseg.storage.folders import count_rows
from captionseg.supervision import parquet_files
from captionseg.supervision.columns import Supervision, widen


@dataclass(frozen=True)
class Task:
    """What all jobs of a run are sent.

    Attributes:
        shared: what they read.
        rules: by name.
        fitted: what each rule knows of the corpus, by name.
        supervision: folder of RULE/NNNNN.parquet.
        sampled: concepts drawn an image when measuring.
        seed: of the measured draws.
    """

    shared: PerProcess[Shared]
    rules: Mapping[str, Rule]
    fitted: Mapping[str, PerProcess[Fitted]]
    supervision: Path
    sampled: int
    seed: int


class Written(NamedTuple):
    """What is known of a shard when a rule has written it.

    Attributes:
        counts: of rows, kept rows and concepts, see `captionseg.curation.measure.count`.
        dropped: kind of a mark, or reason of the rule -> number of rows.
        width: most concepts that a row has.
        measured_width: most concepts that a row has which held-out captions measure.
    """

    counts: Counter[str]
    dropped: Counter[str]
    width: int
    measured_width: int


class Measured(NamedTuple):
    """What is measured of a shard.

    Attributes:
        counts: see `captionseg.curation.measure.count`.
        ratios: see `captionseg.curation.held_out.compare_held_out`; empty without held-out
            captions.
    """

    counts: Counter[str]
    ratios: dict[str, tuple[np.ndarray, np.ndarray]]


class Widths(NamedTuple):
    """The widths of all rows together, by which draws are the same however rows are parted."""

    width: int
    measured_width: int


def is_written(supervision: Path, rule: str, shard: Shard) -> bool:
    """Whether the supervision of a shard is whole, perhaps from a run that was killed."""
    return count_rows(supervision / rule / f"{shard.name}.parquet") == shard.end - shard.start


def write_shard(task: Task, job: tuple[str, Shard]) -> Written:
    """Write the supervision of one shard by one rule, if it is not there yet."""
    (name, shard), shared = job, task.shared()
    path = task.supervision / name / f"{shard.name}.parquet"
    rows = np.arange(shard.start, shard.end)
    kind = shared.kind[rows]
    if is_written(task.supervision, name, shard):
        result = parquet_files.read(path)
    else:
        before = replace(
            Supervision.blank(shared.corpus.uid[rows]),
            kept=kind == "",
            drop_reason=shared.reason[rows],
        )
        with threadpool_limits(1):  # how sums are rounded depends on the number of threads
            result = supervise(
                task.rules[name], task.fitted[name](), shared.corpus, before, name=name, rows=rows
            )
        check_rows(name, before, result)
        parquet_files.write(result, path)
    reasons = np.where(kind == "", result.drop_reason, kind)
    measured = result.count[shared.measured[rows]]
    return Written(
        counts=count(result, {}, {}, sampled=task.sampled, seed=task.seed),
        dropped=Counter(reason for reason in reasons.tolist() if reason),
        width=int(result.count.max(initial=1)),
        measured_width=int(measured.max(initial=1)),
    )


def check_rows(name: str, before: Supervision, result: Supervision) -> None:
    """Check that a rule keeps all rows in order, and none that was dropped before it.

    Raises:
        RuntimeError: naming the rule.
    """
    if len(result) != len(before) or not np.array_equal(result.uid, before.uid):
        raise RuntimeError(
            f"rule {name} returned other rows than it was given; mark rows, never delete them"
        )
    if (result.kept & ~before.kept).any():
        raise RuntimeError(f"rule {name} keeps rows that were dropped before it")


def measure_shard(task: Task, job: tuple[str, Shard, Widths]) -> Measured:
    """Measure the supervision of one shard by one rule."""
    (name, shard, widths), shared = job, task.shared()
    corpus, rows = shared.corpus, np.arange(shard.start, shard.end)
    result = parquet_files.read(task.supervision / name / f"{shard.name}.parquet")
    kept = shared.kind[rows] == ""
    # what is marked is nobody's to recover
    true = {uid: shared.true[uid] for uid in result.uid[kept] if uid in shared.true}
    own = corpus.named[rows]
    named = {
        row: {str(corpus.vocabulary[c]) for c in own.indices[own.indptr[row] : own.indptr[row + 1]]}
        for row in np.flatnonzero(np.isin(result.uid, list(true))).tolist()
    }
    counts = count(
        widen(result, widths.width),
        true,
        named,
        sampled=task.sampled,
        seed=task.seed,
        first=shard.start,
    )
    measured = np.flatnonzero(shared.measured[rows])
    if not len(measured):
        return Measured(counts, {})
    ratios = compare_held_out(
        align_vocabulary(widen(result.take(measured), widths.measured_width), corpus.vocabulary),
        own[measured],
        shared.held_out[rows[measured]],
        sampled=task.sampled,
        seed=task.seed,
        first=int(shared.measured[: shard.start].sum()),
    )
    return Measured(counts, ratios)
