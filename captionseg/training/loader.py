"""Loads what a recipe trains on: supervision, features, pictures and texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.arrays import ShardedArray
from captionseg.datasets.ids import count_shard_rows, number_shards, read_ids, read_metadata
from captionseg.encoders.text_space import TextSpace
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.storage.folders import read_arrays
from captionseg.storage.reading import read_array, read_json, read_table
from captionseg.supervision import parquet_files
from captionseg.supervision.columns import Supervision
from captionseg.text.alike import find_alike, widen
from captionseg.text.prompts import read_templates
from captionseg.text.vocabulary import Vocabulary
from captionseg.training.masked import masked_captions
from captionseg.training.segment_set import SegmentSet
from captionseg.training.segment_set import read as read_segments
from captionseg.training.training_set import Sentences, TrainingSet

pc: Any = compute  # its functions are made when it is imported

Encode = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Folders:
    """Folders of the stages that a recipe reads."""

    prepared: PreparedFolders
    supervision: Path
    truth: Path
    segments: Path | None = None


def load(
    folders: Folders,
    *,
    curation: str,
    archive: str,
    alike: float = 0.0,
    reads: InputSpec | None = None,
    encode: Encode | None = None,
    device: str = "auto",
) -> TrainingSet:
    """Load what a recipe trains on.

    Args:
        folders: of the earlier stages.
        curation: rule whose concepts are drawn.
        archive: rule whose archive masks negatives.
        alike: see `find_alike`; concepts like one of an image's archive are no negatives either.
        reads: what the model reads; None reads regions and embeddings.
        encode: texts -> embeddings, for masked captions of models that read embeddings.
        device: of the frozen encoder, where it is part of the model.

    Raises:
        UserError: if a rule has not been run, or kept nothing.
    """
    reads, supervision = reads or InputSpec(), folders.supervision
    ids = read_ids(folders.prepared.index)
    concepts, embedding = read_vocabulary(supervision / "vocabulary")
    rules = read_rules(supervision, ids, concepts, (curation, archive, "nouns"))
    drawn, _, nouns = rules
    if not drawn.kept.any():
        raise UserError(
            f"{supervision / curation}: every row was dropped; loosen curate.{curation}"
        )
    row_of = {uid: row for row, uid in enumerate(ids["uid"].to_pylist())}
    kept = drawn.uid[drawn.kept]
    index_rows = np.array([row_of[uid] for uid in kept])
    data = read_columns(
        folders.prepared, index_rows, rules, concepts, embedding, reads, device=device
    )
    wide = widen(data.archive, find_alike(concepts, embedding, alike))
    data = dataclasses.replace(data, archive=wide)
    if reads.segments:
        rows = dict(zip(kept, index_rows.tolist(), strict=True))
        segments = read_named_segments(data, folders.segments, rows, len(row_of), reads)
        data = dataclasses.replace(data, segments=segments)
    if not reads.tokens and not reads.masking:
        return data
    captions = read_captions(folders.prepared.index)
    return add_captions(data, captions, drawn, nouns, supervision / "vocabulary", reads, encode)


def read_columns(
    prepared: PreparedFolders,
    rows: np.ndarray,
    rules: Sequence[Supervision],
    concepts: list[str],
    embedding: np.ndarray,
    reads: InputSpec,
    *,
    device: str,
) -> TrainingSet:
    """Return the training set without segments and sentences.

    Args:
        prepared: features and pictures.
        rows: [N] rows of the index of the kept pairs.
        rules: the rule whose concepts are drawn, the one whose archive masks negatives, and nouns.
        concepts: [C], the vocabulary.
        embedding: [C, D] embeddings of the concepts.
        reads: what the model reads.
        device: of the frozen encoder.
    """
    drawn, archive, nouns = rules
    kept, index = np.flatnonzero(drawn.kept), prepared.index
    shards = count_shard_rows(read_ids(index))
    return TrainingSet(
        rows,
        ShardedArray.of_folder(prepared.regions / "pooled", shards),
        read_arrays(prepared.regions / "count", shards),
        read_arrays(index / "text_emb", number_shards(shards)),
        concepts,
        embedding,
        drawn.concept[kept].astype(np.int64),
        drawn.weight[kept],
        drawn.cluster[kept],
        np.concatenate([archive.concept, nouns.concept], 1)[kept].astype(np.int64),
        nouns.concept[kept].astype(np.int64),
        dense=ShardedArray.of_folder(prepared.features / "dense", shards) if reads.dense else None,
        pictures=prepared.pictures() if reads.picture else None,
        space=TextSpace.load(prepared.encoder, device=device) if reads.space else None,
        reads=reads,
    )


def read_named_segments(
    data: TrainingSet, folder: Path | None, rows: dict[str, int], size: int, reads: InputSpec
) -> SegmentSet:
    """Read the segments of the pairs of a training set with their texts.

    Args:
        data: the training set, with its encoder.
        folder: of the segment_text stage.
        rows: uid -> row of the index, of the kept pairs.
        size: number of rows of the index.
        reads: what the model reads.

    Raises:
        UserError: if there is no such folder, or none of the pairs has a segment.
    """
    if folder is None:
        raise UserError(
            "this model learns from segments and needs data/segments; run `dvc repro segment_text`"
        )
    assert data.space is not None
    grid = (
        (reads.cells, reads.cells)
        if data.dense is None
        else (data.dense.shape[1], data.dense.shape[2])
    )
    return read_segments(
        folder,
        rows,
        size,
        grid=grid,
        encode=data.space.encode,
        kinds=reads.kinds,
        templates=read_templates(reads.prompts),
        coded=data.dense is None,
    )


def add_captions(
    data: TrainingSet,
    captions: dict[str, str],
    drawn: Supervision,
    nouns: Supervision,
    vocabulary: Path,
    reads: InputSpec,
    encode: Encode | None,
) -> TrainingSet:
    """Add the captions to a training set, as words and masked, as far as the model reads them.

    Args:
        data: the training set.
        captions: uid -> caption.
        drawn: the rule whose concepts are drawn.
        nouns: the rule of nouns.
        vocabulary: folder of the vocabulary.
        reads: what the model reads.
        encode: see `load`.

    Raises:
        UserError: if the caption of a kept pair is empty.
    """
    kept, hidden = np.flatnonzero(drawn.kept), None
    if reads.masking:
        rows = [captions[uid] for uid in drawn.uid]
        source = nouns if reads.masking == "nouns" else drawn
        hidden = masked_captions(
            rows, source, vocabulary, most=1 if reads.masking == "one" else None
        )
    data = dataclasses.replace(data, masked_target=None if hidden is None else hidden.target[kept])
    if not reads.tokens:
        masked = encode(hidden.texts)[kept] if hidden and encode else None
        return dataclasses.replace(data, masked=masked)
    if empty := next((uid for uid in drawn.uid[kept] if not captions[uid].strip()), None):
        raise UserError(
            f"the caption of {empty} is empty, so a model that reads words cannot learn from it; "
            "remove such pairs from the source"
        )
    texts = [captions[uid] for uid in drawn.uid[kept]]
    words = None
    if reads.words:
        words = Vocabulary(tuple(data.concepts), read_json(vocabulary / "lemma.json"))
    masked = [hidden.texts[i] for i in kept] if hidden else None
    return dataclasses.replace(data, sentences=Sentences(texts, masked, words))


def read_captions(index: Path) -> dict[str, str]:
    """Read uid -> caption."""
    rows = read_metadata(index, read_ids(index)).to_pydict()
    return dict(zip(rows["uid"], rows["caption"], strict=True))


def read_rules(
    folder: Path, ids: pa.Table, vocabulary: list[str], rules: Sequence[str]
) -> list[Supervision]:
    """Read the supervision of several rules for all training rows of `ids`; each is read once.

    Raises:
        UserError: if a rule has not been run, or its rows are not the training rows.
    """
    read = {rule: read_supervision(folder, rule, vocabulary) for rule in dict.fromkeys(rules)}
    check_rows(folder, ids, read)
    return [read[rule] for rule in rules]


def read_supervision(folder: Path, rule: str, vocabulary: list[str]) -> Supervision:
    """Read all shards of one rule, with concepts as numbers of the vocabulary.

    Raises:
        UserError: if the rule has not been run.
    """
    if not (folder / rule).is_dir():
        raise UserError(f"{folder / rule}: rule {rule!r} was not run; add it to curate.rules")
    return parquet_files.read(folder / rule, vocabulary)


def read_vocabulary(folder: Path) -> tuple[list[str], np.ndarray]:
    """Read the C concepts of the vocabulary, and their embeddings [C, D]."""
    concepts = read_table(folder / "concepts.parquet", columns=["text"])["text"].to_pylist()
    return concepts, read_array(folder / "embedding.npy", rows=len(concepts))


def check_rows(folder: Path, ids: pa.Table, rules: Mapping[str, Supervision]) -> None:
    """Check that each rule has exactly the training rows of the index, in its order.

    Raises:
        UserError: naming the first rule that does not.
    """
    train = ids.filter(pc.equal(ids["split"], "train"))["uid"].to_pylist()
    for rule, supervision in rules.items():
        if supervision.uid.tolist() != train:
            lost = len(set(train) - set(supervision.uid))
            raise UserError(
                f"{folder / rule}: does not match the {len(train)} training pairs of the index "
                f"({len(supervision)} rows, {lost} pairs missing); run `dvc repro curate`"
            )
