"""Run rules over a corpus and write their supervisions. The only part of curation that knows
shards.
"""

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
from captionseg.curation.held_out import match_held_out, measure_held_out, number_alike
from captionseg.curation.measure import measure
from captionseg.curation.rule import Rule
from captionseg.curation.rules import CurateParams
from captionseg.records import Corpus, UserError
from captionseg.runtime.fan_out import PerProcess, count_threads, spread, stays_here
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.storage.folders import find_incomplete
from captionseg.storage.writing import remove_parts, write_array, write_json, write_table
from captionseg.supervision import files
from captionseg.supervision.columns import Supervision
from captionseg.text.vocabulary import build

log = logging.getLogger(__name__)
Measures = dict[str, Any]  # name -> value; `held_out` -> those by captions that no rule saw


@dataclass(frozen=True)
class Known:
    """What is known of pictures beside their captions. Rules do not see it.

    Attributes:
        concepts: uid -> all classes in the picture, of those with a mask.
        held_out: uid -> further captions of the picture.
    """

    concepts: Mapping[str, set[str]] = field(default_factory=dict)
    held_out: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What the rules of one run share.

    Attributes:
        corpus: what they read, in this process.
        index: folder of the index stage.
        true: uid -> known concepts, for the measures alone; may be empty.
        held_out: [N, C] what held-out captions name and [N] whether there are any, for the measures
            alone.
        sampled: concepts drawn an image when measuring.
        supervision: out.
        seed: of the rules and of the measured draws.
    """

    corpus: Callable[[], Corpus]
    index: Path
    true: Mapping[str, set[str]]
    held_out: tuple[csr_array, np.ndarray]
    sampled: int
    supervision: Path
    seed: int


def curate(
    index: Path,
    features: Path,
    encode: Callable[[Sequence[str]], np.ndarray],
    params: CurateParams,
    *,
    known: Known,
    supervision: Path,
    seed: int,
    runtime: RuntimeParams = HERE,
) -> dict[str, Measures]:
    """All rules of the params over the same corpus, several at once where asked.

    A rule reads neighbours all over the corpus, so what is spread are whole rules. One of them uses
    all cores of a machine already, and its sums depend on how many: workers have as many threads as
    this process, and of themselves there are no more workers than threads leave cores for.

    Args:
        index: folder of the index stage.
        features: the other folder of the index stage.
        encode: texts -> embeddings in the index's space.
        params: section `curate`.
        known: of the pictures, for the measures alone.
        supervision: out; a folder RULE/NNNNN.parquet each, and `vocabulary/`.
        seed: of the rules and of the measured draws.
        runtime: what rules are spread over.

    Returns:
        measures by rule.
    """
    corpus, vocabulary = corpora.load(
        index,
        features,
        lambda captions: build(captions, params.vocabulary),
        encode,
        prompts=params.prompts,
    )
    assert vocabulary.lemma is not None, "both ways of making a vocabulary know its plurals"
    write_vocabulary(corpus, vocabulary.lemma, supervision / "vocabulary")
    rules, threads = list(params.chosen().items()), count_threads()
    stays = stays_here(runtime, len(rules), threads=threads)
    with (
        contextlib.nullcontext(PerProcess(lambda: corpus))
        if stays
        else share_corpus(corpus, supervision) as given
    ):
        task = Task(
            given,
            index,
            true=known.concepts,
            held_out=match_held_out(vocabulary, corpus.uid, known.held_out),
            sampled=params.sampled,
            supervision=supervision,
            seed=seed,
        )
        found = spread(
            functools.partial(supervise, task),
            rules,
            runtime,
            threads=threads,
            called=lambda rule: f"curate: rule {rule[0]}",
        )
        measures = {}
        for (name, _), (kept, measures[name]) in zip(
            rules, tqdm(found, total=len(rules), desc="rules", unit="rule")
        ):
            log.info("%s: %s", name, kept)
    remove_parts(supervision)
    if reason := find_incomplete(
        count_rows_of_all(index, supervision, [name for name, _ in rules], len(corpus.vocabulary))
    ):
        raise UserError(f"curate: {reason}; nothing is put in place, run it again")
    return measures


def count_rows_of_all(
    index: Path, supervision: Path, rules: Sequence[str], concepts: int
) -> dict[Path, int]:
    """Every table and array of the stage, with the rows that it is to have."""
    words = {
        supervision / "vocabulary" / name: concepts
        for name in ("concepts.parquet", "embedding.npy")
    }
    return words | {
        supervision / rule / f"{shard}.parquet": len(rows)
        for rule in rules
        for shard, rows in corpora.list_shards(index)
    }


@contextlib.contextmanager
def share_corpus(corpus: Corpus, supervision: Path) -> Iterator[PerProcess[Corpus]]:
    """The corpus in files beside the supervision, memory-mapped: all workers of a machine share one
    copy.
    """
    folder = supervision.with_name(f".{supervision.name}.corpus")
    corpora.save(corpus, folder)
    try:
        yield PerProcess(functools.partial(corpora.open_saved, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def supervise(task: Task, rule: tuple[str, Rule]) -> tuple[str, Measures]:
    """Write the supervision of one rule, by name; returns how many rows it keeps, in words, and its
    measures.
    """
    (name, of), corpus = rule, task.corpus()
    # a rule does not know that it runs as a variant
    result = replace(of(corpus, Supervision.blank(corpus.uid), seed=task.seed), rule=name)
    check_rows(name, corpus, result)
    dropped = Counter(r for r in result.drop_reason if r)
    kept = f"kept {result.kept.sum()} of {len(corpus)}" + "".join(
        f", {n} {why}" for why, n in sorted(dropped.items())
    )
    for shard, rows in corpora.list_shards(task.index):
        files.write(result.take(rows), task.supervision / name / f"{shard}.parquet")
    named = [
        {corpus.vocabulary[int(c)] for c in corpus.named.indices[start:end]}
        for start, end in zip(corpus.named.indptr[:-1], corpus.named.indptr[1:], strict=True)
    ]
    measures = measure(result, task.true, named, sampled=task.sampled, seed=task.seed)
    matrix, measured = task.held_out
    by_captions = measure_held_out(
        number_alike(result, corpus.vocabulary),
        corpus.named,
        matrix,
        measured,
        sampled=task.sampled,
        seed=task.seed,
    )
    return kept, measures | ({"held_out": by_captions} if by_captions else {})


def check_rows(name: str, corpus: Corpus, result: Supervision) -> None:
    """A rule that loses or reorders rows is a mistake of its author's."""
    if len(result) != len(corpus) or not np.array_equal(result.uid, corpus.uid):
        raise RuntimeError(
            f"rule {name} returned other rows than it was given; mark rows, never delete them"
        )


def write_vocabulary(corpus: Corpus, lemma: Mapping[str, str], folder: Path) -> None:
    """concepts.parquet (text, how many captions name it), embedding.npy [C, D] and lemma.json."""
    count = np.asarray(corpus.named.astype(np.int64).sum(axis=0)).ravel()
    write_table(
        pa.table({"text": list(corpus.vocabulary), "captions": count}), folder / "concepts.parquet"
    )
    write_array(corpus.concept_embedding, folder / "embedding.npy")
    write_json(dict(lemma), folder / "lemma.json")
