"""Runs rules over a corpus and writes their supervisions, shard by shard."""

from __future__ import annotations

import contextlib
import functools
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array
from tqdm import tqdm

from captionseg.curation import corpus as corpora
from captionseg.curation.held_out import align_vocabulary, match_held_out, measure_held_out
from captionseg.curation.marked import Inputs, load_marked
from captionseg.curation.measure import measure
from captionseg.curation.rule import Rule
from captionseg.curation.rules import CurateParams
from captionseg.marking.mark import Marks, write_marks
from captionseg.records import DROPPED, Corpus, UserError
from captionseg.runtime.fan_out import PerProcess, count_threads, spread, stays_here
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.storage.folders import find_incomplete
from captionseg.storage.writing import remove_parts, write_array, write_json, write_table
from captionseg.supervision import parquet_files
from captionseg.supervision.columns import Supervision

log = logging.getLogger(__name__)
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


@dataclass(frozen=True)
class Task:
    """What the rules of one run share.

    Attributes:
        corpus: what they read, in this process.
        marks: of its pairs, the same for every rule.
        index: folder of the index stage.
        true: uid -> known concepts, for the measures alone; may be empty.
        held_out: [N, C] what held-out captions name and [N] whether there are any, for the measures
            alone.
        sampled: concepts drawn an image when measuring.
        supervision: out.
        seed: of the rules and of the measured draws.
    """

    corpus: Callable[[], Corpus]
    marks: Marks
    index: Path
    true: Mapping[str, set[str]]
    held_out: tuple[csr_array, np.ndarray]
    sampled: int
    supervision: Path
    seed: int


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
    """All rules of the params over the same corpus and the same marks, several at once where asked.

    A rule reads neighbours all over the corpus, so what is spread are whole rules. One of them uses
    all cores of a machine already, and its sums depend on how many: workers have as many threads as
    this process, and of themselves there are no more workers than threads leave cores for.

    Args:
        inputs: folders.
        encode: texts -> embeddings in the index's space.
        params: section `curate`.
        known: ground truth, for the measures alone.
        supervision: folder to write RULE/NNNNN.parquet, `vocabulary/` and `marks/` to.
        seed: of the markers, the rules and the measured draws.
        runtime: what rules are spread over.

    Returns:
        measures by rule; and where there are markers, under DROPPED, how many pairs are marked, by
        kind.
    """
    corpus, vocabulary, pairs, marks = load_marked(inputs, encode, params, seed=seed)
    write_marks(pairs, marks, supervision / "marks" / "marks.parquet")
    assert vocabulary.lemma is not None, "both ways of making a vocabulary know its plurals"
    write_vocabulary(corpus, vocabulary.lemma, supervision / "vocabulary")
    rules = list(params.list_rules().items())
    task = Task(
        PerProcess(lambda: corpus),
        marks.take(np.flatnonzero(~pairs.held_out)),
        inputs.index,
        true=known.concepts,
        held_out=match_held_out(vocabulary, corpus.uid, known.held_out),
        sampled=params.sampled,
        supervision=supervision,
        seed=seed,
    )
    measures = supervise_all(task, rules, runtime)
    remove_parts(supervision)
    names, marked = [name for name, _ in rules], int((marks.kind != "").sum())
    expected = count_rows_of_all(inputs.index, supervision, names, len(corpus.vocabulary))
    expected[supervision / "marks" / "marks.parquet"] = marked
    if reason := find_incomplete(expected):
        raise UserError(f"curate: {reason}; nothing is put in place, run it again")
    dropped = {kind: float(n) for kind, n in marks.count(params.marks.kinds()).items()}
    return measures | ({DROPPED: dropped} if dropped else {})


def supervise_all(
    task: Task, rules: Sequence[tuple[str, Rule]], runtime: RuntimeParams
) -> dict[str, Measures]:
    """Write the supervisions of all rules; returns the measures by rule."""
    threads = count_threads()
    stays = stays_here(runtime, len(rules), threads=threads)
    with (
        contextlib.nullcontext(task.corpus)
        if stays
        else share_corpus(task.corpus(), task.supervision) as corpus
    ):
        results = spread(
            functools.partial(supervise, replace(task, corpus=corpus)),
            rules,
            runtime,
            threads=threads,
            called=lambda rule: f"curate: rule {rule[0]}",
        )
        measures = {}
        for (name, _), (kept, measures[name]) in zip(
            rules, tqdm(results, total=len(rules), desc="rules", unit="rule")
        ):
            log.info("%s: %s", name, kept)
    return measures


def count_rows_of_all(
    index: Path, supervision: Path, rules: Sequence[str], concepts: int
) -> dict[Path, int]:
    """Every table and array of the stage, with the number of rows that it should have."""
    vocabulary_files = {
        supervision / "vocabulary" / name: concepts
        for name in ("concepts.parquet", "embedding.npy")
    }
    return vocabulary_files | {
        supervision / rule / f"{shard}.parquet": len(rows)
        for rule in rules
        for shard, rows in corpora.list_shards(index)
    }


@contextlib.contextmanager
def share_corpus(corpus: Corpus, supervision: Path) -> Iterator[PerProcess[Corpus]]:
    """Write the corpus to memory-mapped files, so that all workers of a machine share one copy.

    Args:
        corpus: of the rules.
        supervision: the files are in a hidden folder beside this one, and deleted afterwards.
    """
    folder = supervision.with_name(f".{supervision.name}.corpus")
    corpora.save(corpus, folder)
    try:
        yield PerProcess(functools.partial(corpora.open_saved, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def supervise(task: Task, rule: tuple[str, Rule]) -> tuple[str, Measures]:
    """Write the supervision of one rule.

    Args:
        task: what all rules share.
        rule: its name, and the rule.

    Returns:
        a line that says how many rows it keeps, and its measures.
    """
    (name, apply), corpus = rule, task.corpus()
    marks = task.marks
    before = replace(
        Supervision.blank(corpus.uid), kept=marks.kind == "", drop_reason=marks.reason.copy()
    )
    # a rule does not know that it runs as a variant
    result = replace(apply(corpus, before, seed=task.seed), rule=name)
    check_rows(name, before, result)
    dropped = Counter(r for r in np.where(before.kept, result.drop_reason, marks.kind) if r)
    summary = f"kept {result.kept.sum()} of {len(corpus)}" + "".join(
        f", {n} {why}" for why, n in sorted(dropped.items())
    )
    for shard, rows in corpora.list_shards(task.index):
        parquet_files.write(result.take(rows), task.supervision / name / f"{shard}.parquet")
    named = [
        {corpus.vocabulary[int(c)] for c in corpus.named.indices[start:end]}
        for start, end in zip(corpus.named.indptr[:-1], corpus.named.indptr[1:], strict=True)
    ]
    # what is marked is nobody's to recover
    true = {uid: task.true[uid] for uid in corpus.uid[before.kept] if uid in task.true}
    measures = measure(result, true, named, sampled=task.sampled, seed=task.seed)
    matrix, measured = task.held_out
    by_captions = measure_held_out(
        align_vocabulary(result, corpus.vocabulary),
        corpus.named,
        matrix,
        measured & before.kept,
        sampled=task.sampled,
        seed=task.seed,
    )
    return summary, measures | ({"held_out": by_captions} if by_captions else {})


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


def write_vocabulary(corpus: Corpus, lemma: Mapping[str, str], folder: Path) -> None:
    """Write concepts.parquet (text, number of captions that name it), embedding.npy [C, D] and
    lemma.json.
    """
    count = np.asarray(corpus.named.astype(np.int64).sum(axis=0)).ravel()
    write_table(
        pa.table({"text": list(corpus.vocabulary), "captions": count}), folder / "concepts.parquet"
    )
    write_array(corpus.concept_embedding, folder / "embedding.npy")
    write_json(dict(lemma), folder / "lemma.json")
