"""Supervision, features, pictures and texts -> what a recipe trains on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.arrays import ShardedArray
from captionseg.datasets.ids import count_shard_rows, number_shards, read_ids, read_metadata
from captionseg.datasets.random_access import Pictures
from captionseg.encoders.text_space import TextSpace
from captionseg.inference.inputs import PreparedFolders
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.storage.folders import read_arrays
from captionseg.storage.reading import read_array, read_json, read_table
from captionseg.supervision import files
from captionseg.supervision.columns import Supervision
from captionseg.text.prompts import read_templates
from captionseg.text.vocabulary import Vocabulary
from captionseg.training.masked import masked_captions
from captionseg.training.segments import SegmentSet
from captionseg.training.segments import read as read_segments

pc: Any = compute  # its functions are made when it is imported

Encode = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Folders:
    """Where the stages left what a recipe reads."""

    prepared: PreparedFolders
    supervision: Path
    truth: Path
    segments: Path | None = None


@dataclass(frozen=True)
class Sentences:
    """Texts of a training set, for models that read tokens; N pairs.

    Attributes:
        captions: [N], and masked [N] with their entities masked, or None where the model asks for
            none.
        masked: see captions.
        vocabulary: the concepts, where the model asks which words of captions are some; else None.
    """

    captions: list[str]
    masked: list[str] | None = None
    vocabulary: Vocabulary | None = None


@dataclass(frozen=True)
class TrainingSet:
    """The kept training pairs of one recipe; N of them, M concepts an archive, C concepts in all.

    Attributes:
        rows: [N] rows of the index.
        regions: [index rows, S, F] and count [index rows]: pooled features of regions.
        caption_embedding: [index rows, D] fp16.
        concepts: [C] and concept_embedding [C, D].
        texts, weight, cluster: [N, M] concepts that may be drawn (-1 pads), their weights and
            clusters.
        archive: [N, M'] concepts that are no negatives of the image.
        named: [N, K] concepts that the caption names.
        masked: [N, D] embeddings of the masked captions, or None where the model asks for none.
        masked_target: [N, K'] concepts behind the masks, in order, -1 pads; None likewise.
        dense: [index rows, gh, gw, F], or None where the model does not read them.
        pictures: of the index's rows, or None likewise.
        segments: with their texts, or None likewise.
        space: the frozen encoder, or None where the model reads only what was made with it.
        sentences: or None where the model reads embeddings.
        reads: what the model asks for.
    """

    rows: np.ndarray
    regions: ShardedArray
    count: np.ndarray
    caption_embedding: np.ndarray
    concepts: list[str]
    concept_embedding: np.ndarray
    texts: np.ndarray
    weight: np.ndarray
    cluster: np.ndarray
    archive: np.ndarray
    named: np.ndarray
    masked: np.ndarray | None = None
    masked_target: np.ndarray | None = None
    dense: ShardedArray | None = None
    pictures: Pictures | None = None
    segments: SegmentSet | None = None
    space: TextSpace | None = None
    sentences: Sentences | None = None
    reads: InputSpec = field(default_factory=InputSpec)

    def __len__(self) -> int:
        return len(self.rows)


def load(
    folders: Folders,
    *,
    curation: str,
    archive: str,
    reads: InputSpec | None = None,
    encode: Encode | None = None,
    device: str = "auto",
) -> TrainingSet:
    """What a recipe trains on.

    Args:
        folders: of the stages before.
        curation: rule whose concepts are drawn.
        archive: rule whose archive masks negatives.
        reads: what the model asks for; None reads regions and embeddings.
        encode: texts -> embeddings, for masked captions of models that read embeddings.
        device: of the frozen encoder, where it is part of the model.

    Raises:
        UserError: if a rule has not been run, or kept nothing.
    """
    reads, prepared, supervision = reads or InputSpec(), folders.prepared, folders.supervision
    index = prepared.index
    ids = read_ids(index)
    shards = count_shard_rows(ids)
    concepts, embedding = read_vocabulary(supervision / "vocabulary")
    drawn, masks, nouns = read_rules(supervision, ids, concepts, (curation, archive, "nouns"))
    kept = np.flatnonzero(drawn.kept)
    if not len(kept):
        raise UserError(
            f"{supervision / curation}: every row was dropped; loosen curate.{curation}"
        )
    row_of = {uid: row for row, uid in enumerate(ids["uid"].to_pylist())}
    data = TrainingSet(
        np.array([row_of[uid] for uid in drawn.uid[kept]]),
        ShardedArray.of_folder(prepared.regions / "pooled", shards),
        read_arrays(prepared.regions / "count", shards),
        read_arrays(index / "text_emb", number_shards(shards)),
        concepts,
        embedding,
        drawn.concept[kept].astype(np.int64),
        drawn.weight[kept],
        drawn.cluster[kept],
        np.concatenate([masks.concept, nouns.concept], 1)[kept].astype(np.int64),
        nouns.concept[kept].astype(np.int64),
        dense=ShardedArray.of_folder(prepared.features / "dense", shards) if reads.dense else None,
        pictures=prepared.pictures() if reads.picture else None,
        space=TextSpace.load(prepared.encoder, device=device) if reads.space else None,
        reads=reads,
    )
    if reads.segments:
        rows = {uid: row_of[uid] for uid in drawn.uid[kept]}
        data = dataclasses.replace(
            data, segments=with_texts(data, folders.segments, rows, len(row_of), reads)
        )
    if not reads.tokens and not reads.masking:
        return data
    return with_words(
        data, read_captions(index), drawn, nouns, supervision / "vocabulary", reads, encode
    )


def with_texts(
    data: TrainingSet, folder: Path | None, rows: dict[str, int], size: int, reads: InputSpec
) -> SegmentSet:
    """The segments of the pairs of a training set; arguments as in captionseg.training.segments."""
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


def with_words(
    data: TrainingSet,
    captions: dict[str, str],
    drawn: Supervision,
    nouns: Supervision,
    vocabulary: Path,
    reads: InputSpec,
    encode: Encode | None,
) -> TrainingSet:
    """The training set with its captions as words, and masked, as the model asks for; arguments as
    in `load`.
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
    """uid -> caption."""
    rows = read_metadata(index, read_ids(index)).to_pydict()
    return dict(zip(rows["uid"], rows["caption"], strict=True))


def read_rules(
    folder: Path, ids: pa.Table, vocabulary: list[str], rules: Sequence[str]
) -> list[Supervision]:
    """The supervision of each of some rules, all of the training rows of `ids`; each is read once.

    Raises:
        UserError: if one has not been run, or is of other rows.
    """
    read = {rule: read_supervision(folder, rule, vocabulary) for rule in dict.fromkeys(rules)}
    check_rows(folder, ids, read)
    return [read[rule] for rule in rules]


def read_supervision(folder: Path, rule: str, vocabulary: list[str]) -> Supervision:
    """All shards of one rule, in numbers of the vocabulary."""
    if not (folder / rule).is_dir():
        raise UserError(f"{folder / rule}: rule {rule!r} was not run; add it to curate.rules")
    return files.read(folder / rule, vocabulary)


def read_vocabulary(folder: Path) -> tuple[list[str], np.ndarray]:
    """The concepts [C] of the vocabulary and their embeddings [C, D]."""
    concepts = read_table(folder / "concepts.parquet", columns=["text"])["text"].to_pylist()
    return concepts, read_array(folder / "embedding.npy", rows=len(concepts))


def check_rows(folder: Path, ids: pa.Table, rules: Mapping[str, Supervision]) -> None:
    """Rules are read side by side, row by row: each must have exactly the training rows of the
    index, in its order.

    Raises:
        UserError: naming a rule that lacks some, or has others.
    """
    train = ids.filter(pc.equal(ids["split"], "train"))["uid"].to_pylist()
    for rule, supervision in rules.items():
        if supervision.uid.tolist() != train:
            lost = len(set(train) - set(supervision.uid))
            raise UserError(
                f"{folder / rule}: does not match the {len(train)} training pairs of the index "
                f"({len(supervision)} rows, {lost} pairs missing); run `dvc repro curate`"
            )
