"""Writes what a recipe reads of the supervision as columns on disk, a part of the rows at a time.

One process does it, before training; all ranks and all seeds map the files. Nothing of the size of
the corpus is in memory, apart from a hash of 8 bytes a pair (`stream_ids`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from pyarrow import compute
from scipy.sparse import csr_array

from captionseg.datasets.ids import count_index_shards, number_shards, stream_ids
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.storage.folders import ROWS, RowStream, list_shard_files
from captionseg.storage.reading import read_array, read_json, read_table
from captionseg.storage.writing import write_json
from captionseg.supervision.parquet_files import ConceptLists
from captionseg.text.alike import find_alike, widen
from captionseg.training.masked import CaptionMasker
from captionseg.training.rule_rows import RuleRows, is_same
from captionseg.training.stored_columns import GrowingArray, ListWriter, TextWriter, prepare_folder

pc: Any = compute  # its functions are made when it is imported

Encode = Callable[[Sequence[str]], np.ndarray]

WIDTHS = "width.json"

PART = ROWS  # of the index that are in memory at a time


@dataclass(frozen=True)
class Sources:
    """What columns are made from.

    Attributes:
        index: folder of the index.
        supervision: folder of the curate stage.
        curation: rule whose concepts are drawn.
        archive: rule whose archive masks negatives.
        alike: see `find_alike`.
        reads: what the model reads.
    """

    index: Path
    supervision: Path
    curation: str
    archive: str
    alike: float
    reads: InputSpec

    def describe(self) -> dict[str, Any]:
        """What decides which columns are made of given folders."""
        words = {name: getattr(self, name) for name in ("curation", "archive", "alike")}
        return {**words, "reads": {**asdict(self.reads), "kinds": list(self.reads.kinds)}}


def prepare(sources: Sources, folder: Path, encode: Encode | None) -> None:
    """Write the columns into `folder`, unless they are there.

    Args:
        sources: what they are made from; their files must be those of an earlier call for this
            folder.
        folder: is renamed into place.
        encode: texts -> embeddings, for masked captions of models that read embeddings.

    Raises:
        UserError: if a rule has not been run, its rows are not the training rows of the index, it
            names unknown concepts, or kept nothing; or if a caption is empty that a model reads.
    """
    with prepare_folder(folder, sources.describe()) as part:
        if part is not None:
            with contextlib.closing(_Writer(sources, part, encode)) as writer:
                widths = writer.write()
            write_json(widths, part / WIDTHS)


class _Writer:
    """Writes the columns of a recipe."""

    def __init__(self, sources: Sources, folder: Path, encode: Encode | None) -> None:
        reads, vocabulary = sources.reads, sources.supervision / "vocabulary"
        self.sources, self.folder, self.encode = sources, folder, encode
        concepts, embedding = read_vocabulary(vocabulary)
        self.alike = find_alike(concepts, embedding, sources.alike)
        rules = sources.curation, sources.archive, "nouns"
        self.rules = RuleRows(sources.supervision, rules, concepts, sources.index)
        self.captions = open_captions(sources.index) if reads.tokens or reads.masking else None
        self.masker = None
        if reads.masking:
            lemma = read_json(vocabulary / "lemma.json")
            most = 1 if reads.masking == "one" else None
            self.masker = CaptionMasker(concepts, lemma, most=most)
        self.rows = GrowingArray(folder / "row.npy", np.int64)
        self.lists: dict[str, ListWriter] = {
            "drawn": ListWriter(
                folder,
                "drawn",
                {"concept": np.int32, "weight": np.float32, "cluster": np.int32},
                least=1,
            ),
            "archive": ListWriter(folder, "archive", {"concept": np.int32}),
            "named": ListWriter(folder, "named", {"concept": np.int32}, least=1),
        }
        if reads.masking:
            self.lists["target"] = ListWriter(folder, "target", {"concept": np.int32}, least=1)
        self.texts = {
            name: TextWriter(folder, name)
            for name in ("caption", "masked")
            if reads.tokens and (name == "caption" or reads.masking)
        }
        self.embeddings: GrowingArray | None = None

    def close(self) -> None:
        """Finish all files."""
        for file in (self.rows, self.embeddings, *self.lists.values(), *self.texts.values()):
            if file is not None:
                file.close()

    def write(self) -> dict[str, int]:
        """Write all rows; name -> width of its lists."""
        index = self.sources.index
        for ids in stream_ids(index, PART):
            train = pc.equal(ids["split"], "train")
            captions = self.take_captions(ids)
            ids = ids.filter(train)
            self.add(ids, None if captions is None else captions.filter(train))
        self.rules.end()
        if self.captions is not None and self.captions.take(1) is not None:
            self.refuse_captions()
        if not self.rows.count:
            rule = self.sources.curation
            raise UserError(
                f"{self.sources.supervision / rule}: every row was dropped; loosen curate.{rule}"
            )
        return {name: lists.width for name, lists in self.lists.items()}

    def take_captions(self, ids: pa.RecordBatch) -> pa.Array | None:
        """The captions of some rows of the index; None if the model does not read them."""
        if self.captions is None:
            return None
        table = self.captions.take(len(ids))
        if table is None or not is_same(table["uid"], ids["uid"]):
            self.refuse_captions()
        return table["caption"].combine_chunks()

    def refuse_captions(self) -> NoReturn:
        """Raise UserError for captions that are not those of the index's rows."""
        index = self.sources.index
        raise UserError(
            f"{index / 'metadata'}: of other pairs than {index / 'ids.parquet'}; run `dvc repro "
            "index`"
        )

    def add(self, ids: pa.RecordBatch, captions: pa.Array | None) -> None:
        """Write training rows of the index."""
        if not (found := self.rules.take(ids["uid"])):
            return
        drawn, archive, nouns = (
            found[rule] for rule in (self.sources.curation, self.sources.archive, "nouns")
        )
        self.rows.append(ids["row"].to_numpy()[drawn.kept])
        columns = {name: getattr(drawn, name) for name in ("concept", "weight", "cluster")}
        self.lists["drawn"].append(drawn.count, columns, drawn.kept)
        self.lists["named"].append(nouns.count, {"concept": nouns.concept}, drawn.kept)
        held = count_concepts((archive, nouns), len(self.rules.vocabulary))
        wide = widen(held[np.flatnonzero(drawn.kept)], self.alike)
        self.lists["archive"].append(np.diff(wide.indptr), {"concept": wide.indices})
        if captions is not None:
            self.add_captions(ids, captions, drawn, nouns)

    def add_captions(
        self, ids: pa.RecordBatch, captions: pa.Array, drawn: ConceptLists, nouns: ConceptLists
    ) -> None:
        """Write the captions of training rows, as words and masked, as far as they are read."""
        reads, kept = self.sources.reads, pa.array(drawn.kept)
        if reads.tokens:
            refuse_empty(ids["uid"].filter(kept), captions.filter(kept))
            self.texts["caption"].append(captions.filter(kept))
        if self.masker is None:
            return
        source = nouns if reads.masking == "nouns" else drawn
        masked = self.masker(captions.to_pylist(), source.count, source.concept)
        self.lists["target"].append(masked.count, {"concept": masked.target}, drawn.kept)
        texts = pa.array(masked.texts, pa.string()).filter(kept)
        if reads.tokens:
            self.texts["masked"].append(texts)
        elif self.encode is not None and len(texts):
            self.add_embeddings(self.encode(texts.to_pylist()))

    def add_embeddings(self, vectors: np.ndarray) -> None:
        """Write embeddings [n, D] of masked captions."""
        if self.embeddings is None:
            self.embeddings = GrowingArray(
                self.folder / "masked_embedding.npy", vectors.dtype, vectors.shape[1:]
            )
        self.embeddings.append(vectors)


def count_concepts(rules: Sequence[ConceptLists], concepts: int) -> csr_array:
    """How often each of n images has each concept by some rules: [n, concepts]."""
    row = np.concatenate([np.repeat(np.arange(len(r.count)), r.count) for r in rules])
    column = np.concatenate([r.concept for r in rules])
    shape = len(rules[0].count), concepts
    return csr_array((np.ones(len(row), np.int32), (row, column)), shape=shape)


def refuse_empty(uids: pa.Array, captions: pa.Array) -> None:
    """Check that captions have words.

    Raises:
        UserError: naming the pair of the first that has none.
    """
    texts = captions.to_pylist()
    if (row := next((i for i, text in enumerate(texts) if not (text or "").strip()), None)) is None:
        return
    raise UserError(
        f"the caption of {uids[row].as_py()} is empty, so a model that reads words cannot learn "
        "from it; remove such pairs from the source"
    )


def open_captions(index: Path) -> RowStream:
    """Open uid and caption of all rows of an index.

    Raises:
        UserError: if files of shards are missing, or there are others.
    """
    names = [f"metadata_{number}" for number in number_shards(count_index_shards(index))]
    files = list_shard_files(index / "metadata", ".parquet", names)
    schema = pa.schema([("uid", pa.string()), ("caption", pa.string())])
    return RowStream(files, schema.names, schema=schema)


def read_vocabulary(folder: Path) -> tuple[list[str], np.ndarray]:
    """Read the C concepts of the vocabulary, and their embeddings [C, D]."""
    concepts = read_table(folder / "concepts.parquet", columns=["text"])["text"].to_pylist()
    return concepts, read_array(folder / "embedding.npy", rows=len(concepts))
