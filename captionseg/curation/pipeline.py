"""Run rules over a corpus and write their supervisions. The only part of curation that knows shards."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from captionseg.curation import RULES, CurateParams
from captionseg.curation import corpus as corpora
from captionseg.curation.measure import measure
from captionseg.records import Corpus, Supervision
from captionseg.storage import write_array, write_json, write_table
from captionseg.text.vocabulary import build

log = logging.getLogger(__name__)


def curate(index: Path, features: Path, encode: Callable[[Sequence[str]], np.ndarray], params: CurateParams, *,
           true: Mapping[str, set[str]], supervision: Path, seed: int) -> dict[str, dict[str, float]]:
    """All rules of the params, one after another over the same corpus.

    Args:
        index: folder of the index stage.
        features: the other folder of the index stage.
        encode: texts -> embeddings in the index's space.
        params: section `curate`.
        true: uid -> known concepts, for the measures alone; may be empty.
        supervision: out; a folder RULE/NNNNN.parquet each, and `vocabulary/`.
        seed: of the rules and of the measured draws.

    Returns:
        measures by rule.
    """
    corpus, vocabulary = corpora.load(index, features, lambda captions: build(captions, params.vocabulary), encode,
                                      prompts=params.prompts)
    write_vocabulary(corpus, vocabulary.lemma, supervision / "vocabulary")
    named = [{corpus.vocabulary[int(c)] for c in corpus.named.indices[start:end]}
             for start, end in zip(corpus.named.indptr[:-1], corpus.named.indptr[1:], strict=True)]
    measures = {}
    for name, rule in tqdm(params.chosen().items(), desc="rules", unit="rule"):
        result = called(name, rule(corpus, Supervision.blank(corpus.uid), seed=seed))
        check_rows(name, corpus, result)
        dropped = Counter(r for r in result.drop_reason if r)
        log.info("%s: kept %d of %d%s", name, result.kept.sum(), len(corpus),
                 "".join(f", {count} {reason}" for reason, count in sorted(dropped.items())))
        table = result.to_table()
        for shard, rows in corpora.shards_of(index):
            write_table(table.take(pa.array(rows)), supervision / name / f"{shard}.parquet")
        measures[name] = measure(result, true, named, sampled=params.sampled, seed=seed)
    return measures


def called(name: str, result: Supervision) -> Supervision:
    """The same with every concept said to be of the rule `name`: a rule does not know that it runs as a variant."""
    if name in RULES:
        return result
    return replace(result, concepts=[tuple(replace(c, rule=name) for c in row) for row in result.concepts])


def check_rows(name: str, corpus: Corpus, result: Supervision) -> None:
    """A rule that loses or reorders rows is a mistake of its author's."""
    if len(result) != len(corpus) or not np.array_equal(result.uid, corpus.uid):
        raise RuntimeError(f"rule {name} returned other rows than it was given; mark rows, never delete them")


def write_vocabulary(corpus: Corpus, lemma: Mapping[str, str], folder: Path) -> None:
    """concepts.parquet (text, how many captions name it), embedding.npy [C, D] and lemma.json."""
    count = np.asarray(corpus.named.astype(np.int64).sum(axis=0)).ravel()
    write_table(pa.table({"text": list(corpus.vocabulary), "captions": count}), folder / "concepts.parquet")
    write_array(corpus.concept_embedding, folder / "embedding.npy")
    write_json(dict(lemma), folder / "lemma.json")
