"""Runs rules over a corpus and writes their supervisions, a job for every rule and shard."""

from __future__ import annotations

import functools
import itertools
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from captionseg.arrays import Texts
from captionseg.curation import corpus as corpora
from captionseg.curation.corpus import Shard
from captionseg.curation.held_out import Bootstrap, match_held_out
from captionseg.curation.marked import Inputs, load_marked
from captionseg.curation.measure import summarise
from captionseg.curation.rules import CurateParams
from captionseg.curation.shards import Task, Widths, Written, is_written, measure_shard, write_shard
from captionseg.curation.shared import Shared, open_saved, save
from captionseg.marking.mark import Marks, write_marks
from captionseg.records import DROPPED, Corpus, UserError
from captionseg.runtime.fan_out import PerProcess, spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.storage.folders import find_incomplete
from captionseg.storage.named_arrays import read_named, write_named
from captionseg.storage.writing import remove_parts, write_array, write_json, write_table
from captionseg.text.vocabulary import Vocabulary

log = logging.getLogger(__name__)
FEW = 20_000  # pairs that are curated before other processes have started
Measures = dict[str, Any]
"""Name -> value; `held_out` -> measures by held-out captions."""


@dataclass(frozen=True)
class Known:
    """Ground truth that the measures use and rules do not see.

    Attributes:
        concepts: uid -> all classes in the image, for images with a mask.
        held_out: uid -> further captions of the image.
    """

    concepts: Mapping[str, set[str]] = field(default_factory=dict)
    held_out: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Places(NamedTuple):
    """Folders that a run writes: its outputs, and what workers share until all is written."""

    supervision: Path
    shared: Path

    @property
    def corpus(self) -> Path:
        """What all jobs read."""
        return self.shared / "corpus"

    @property
    def fitted(self) -> Path:
        """A folder for each rule that was fitted."""
        return self.shared / "fitted"

    @property
    def words(self) -> Path:
        """Tagged captions."""
        return self.shared / "words"


def curate(
    inputs: Inputs,
    encode: Callable[[Sequence[str]], np.ndarray],
    params: CurateParams,
    *,
    known: Known,
    supervision: Path,
    seed: int,
    runtime: RuntimeParams = HERE,
) -> dict[str, Measures]:
    """All rules of the params over the same corpus and the same marks.

    Each rule is fitted to the corpus once, and then writes one shard after another; shards are
    spread over workers. All read the same memory-mapped files, and a run that was killed goes on
    from the shards that are whole.

    Args:
        inputs: folders.
        encode: texts -> embeddings in the index's space.
        params: section `curate`.
        known: ground truth, for the measures alone.
        supervision: folder to write RULE/NNNNN.parquet, `vocabulary/` and `marks/` to; a hidden
            folder beside it holds what workers share, until all is written.
        seed: of the markers and the measured draws.
        runtime: what shards are spread over.

    Returns:
        measures by rule; and where there are markers, under DROPPED, how many pairs are marked, by
        kind.
    """
    places = Places(supervision, supervision.with_name(f".{supervision.name}.shared"))
    dropped = prepare(inputs, encode, params, known, places=places, seed=seed, runtime=runtime)
    rules, shards = params.list_rules(), corpora.list_shards(inputs.index)
    task = Task(
        PerProcess(functools.partial(open_saved, inputs.index, inputs.features, places.corpus)),
        rules,
        {name: PerProcess(functools.partial(read_named, places.fitted / name)) for name in rules},
        supervision,
        params.sampled,
        seed,
    )
    if runtime.workers == 0 and runtime.fan_out == "processes" and shards[-1].end < FEW:
        runtime = HERE
    fit_rules(task, shards, places.fitted)
    written = write_all(task, shards, runtime)
    remove_parts(supervision)
    concepts = len(task.shared().corpus.vocabulary)
    expected = count_rows_of_all(supervision, list(rules), shards, concepts)
    expected[supervision / "marks" / "marks.parquet"] = sum(dropped.values())
    if reason := find_incomplete(expected):
        raise UserError(f"curate: {reason}; nothing is put in place, run it again")
    measures = measure_all(task, shards, written, runtime)
    shutil.rmtree(places.shared)
    kinds = {kind: float(dropped[kind]) for kind in params.marks.kinds()}
    return measures | ({DROPPED: kinds} if kinds else {})


def prepare(
    inputs: Inputs,
    encode: Callable[[Sequence[str]], np.ndarray],
    params: CurateParams,
    known: Known,
    *,
    places: Places,
    seed: int,
    runtime: RuntimeParams,
) -> Counter[str]:
    """Write the marks, the vocabulary, and what all jobs read.

    Returns:
        number of marked pairs by kind.
    """
    corpus, vocabulary, pairs, marks = load_marked(
        inputs, encode, params, seed=seed, words=places.words, runtime=runtime
    )
    write_marks(pairs, marks, places.supervision / "marks" / "marks.parquet")
    assert vocabulary.lemma is not None, "both ways of making a vocabulary know its plurals"
    write_vocabulary(corpus, vocabulary.lemma, places.supervision / "vocabulary")
    of_training = marks.take(np.flatnonzero(~pairs.held_out))
    save(collect(corpus, vocabulary, of_training, known), inputs.index, places.corpus)
    return Counter(kind for kind in marks.kind.tolist() if kind)


def collect(corpus: Corpus, vocabulary: Vocabulary, marks: Marks, known: Known) -> Shared:
    """What all jobs read."""
    held_out, has_any = match_held_out(vocabulary, corpus.uid[:], known.held_out)
    kind, reason = (Texts(pa.array(texts, pa.string())) for texts in (marks.kind, marks.reason))
    measured = has_any & (marks.kind == "")
    return Shared(corpus, kind, reason, known.concepts, held_out, measured)


def fit_rules(task: Task, shards: Sequence[Shard], fitted: Path) -> None:
    """Fit every rule with unfinished shards, unless a run that was killed has done so."""
    for name, rule in task.rules.items():
        finished = all(is_written(task.supervision, name, shard) for shard in shards)
        if not finished and not (fitted / name).exists():
            write_named(rule.fit(task.shared().corpus), fitted / name)


def write_all(
    task: Task, shards: Sequence[Shard], runtime: RuntimeParams
) -> dict[str, list[Written]]:
    """Write the supervisions of all rules; returns what is known of each shard, by rule."""
    jobs = list(itertools.product(task.rules, shards))
    results = spread(functools.partial(write_shard, task), jobs, runtime, called=describe)
    written: dict[str, list[Written]] = {name: [] for name in task.rules}
    for (name, _), one in zip(jobs, tqdm(results, total=len(jobs), desc="shards", unit="shard")):
        written[name].append(one)
    for name, parts in written.items():
        dropped = sum((part.dropped for part in parts), Counter[str]())
        reasons = "".join(f", {n} {why}" for why, n in sorted(dropped.items()))
        kept = sum(part.counts["kept"] for part in parts)
        log.info("%s: kept %d of %d%s", name, kept, shards[-1].end, reasons)
    return written


def measure_all(
    task: Task,
    shards: Sequence[Shard],
    written: Mapping[str, Sequence[Written]],
    runtime: RuntimeParams,
) -> dict[str, Measures]:
    """Measure the supervisions of all rules; returns the measures by rule."""
    counts = {name: Counter[str]() for name in task.rules}
    if not task.shared().is_known:
        for name, parts in written.items():
            for part in parts:
                counts[name].update(part.counts)
        return {name: summarise(of_rule) for name, of_rule in counts.items()}
    widths = {
        name: Widths(max(p.width for p in parts), max(p.measured_width for p in parts))
        for name, parts in written.items()
    }
    jobs = [(name, shard, widths[name]) for name, shard in itertools.product(task.rules, shards)]
    results = spread(functools.partial(measure_shard, task), jobs, runtime, called=describe)
    by_captions = {name: Bootstrap(task.seed) for name in task.rules}
    for (name, *_), one in zip(jobs, tqdm(results, total=len(jobs), desc="measures", unit="shard")):
        counts[name].update(one.counts)
        if one.ratios:
            by_captions[name].add(one.ratios)
    measures: dict[str, Measures] = {}
    for name, bootstrap in by_captions.items():
        measures[name] = summarise(counts[name])
        if bootstrap.pictures:
            held_out = {"pictures": float(bootstrap.pictures), **bootstrap.summarise()}
            measures[name]["held_out"] = held_out
    return measures


def describe(job: tuple[Any, ...]) -> str:
    """A job, for messages."""
    return f"curate: rule {job[0]}, shard {job[1].name}"


def count_rows_of_all(
    supervision: Path, rules: Sequence[str], shards: Sequence[Shard], concepts: int
) -> dict[Path, int]:
    """Every table and array of the stage, with the number of rows that it should have."""
    vocabulary_files = {
        supervision / "vocabulary" / name: concepts
        for name in ("concepts.parquet", "embedding.npy")
    }
    return vocabulary_files | {
        supervision / rule / f"{shard.name}.parquet": shard.end - shard.start
        for rule in rules
        for shard in shards
    }


def write_vocabulary(corpus: Corpus, lemma: Mapping[str, str], folder: Path) -> None:
    """Write concepts.parquet (text, number of captions that name it), embedding.npy [C, D] and
    lemma.json.
    """
    count = np.bincount(corpus.named.indices, minlength=len(corpus.vocabulary))
    write_table(
        pa.table({"text": list(corpus.vocabulary), "captions": count}), folder / "concepts.parquet"
    )
    write_array(corpus.concept_embedding, folder / "embedding.npy")
    write_json(dict(lemma), folder / "lemma.json")
