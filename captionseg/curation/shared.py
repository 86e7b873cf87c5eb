"""What all jobs of a run read, in files that workers map into memory together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from captionseg.arrays import SelectedRows, Texts
from captionseg.curation.corpus import map_rows
from captionseg.datasets.ids import count_shard_rows, read_ids
from captionseg.records import Corpus
from captionseg.storage.named_arrays import read_named, write_named
from captionseg.storage.reading import explain_read_errors, read_json
from captionseg.storage.writing import atomic_path, write_json

SPARSE = ("data", "indices", "indptr")


@dataclass(frozen=True)
class Shared:
    """What all jobs of a run read.

    Attributes:
        corpus: of the training pairs.
        kind: [N] kinds of their marks; empty where a pair is kept.
        reason: [N] their reasons.
        true: uid -> known concepts, for the measures alone; may be empty.
        held_out: [N, C] bool, what held-out captions name, for the measures alone.
        measured: [N] bool, whether a pair has any and is kept.
    """

    corpus: Corpus
    kind: Texts
    reason: Texts
    true: Mapping[str, set[str]]
    held_out: csr_array
    measured: np.ndarray

    @property
    def is_known(self) -> bool:
        """Whether there is anything to measure by."""
        return bool(self.true) or bool(self.measured.any())


def save(shared: Shared, index: Path, folder: Path) -> None:
    """Write what `open_saved` needs besides the folders of the index stage."""
    corpus, near = shared.corpus, shared.corpus.neighbours
    assert isinstance(near, SelectedRows)
    assert near.numbers is not None
    arrays = {
        "rows": near.rows,
        "numbers": near.numbers,
        "concept_embedding": corpus.concept_embedding,
        "measured": shared.measured,
    }
    for name in SPARSE:
        arrays[f"named_{name}"] = getattr(corpus.named, name)
        arrays[f"held_out_{name}"] = getattr(shared.held_out, name)
    write_named(arrays, folder / "arrays")
    columns = {"uid": corpus.uid, "caption": corpus.caption}
    columns |= {"kind": shared.kind, "reason": shared.reason}
    table = pa.table({name: pa.array(texts, pa.string()) for name, texts in columns.items()})
    with atomic_path(folder / "texts.arrow") as part, pa.ipc.new_file(part, table.schema) as file:
        file.write_table(table)
    known = {
        "shards": count_shard_rows(read_ids(index)),
        "vocabulary": list(corpus.vocabulary),
        "true": {uid: sorted(names) for uid, names in shared.true.items()},
    }
    write_json(known, folder / "known.json")


def open_saved(index: Path, features: Path, folder: Path) -> Shared:
    """Open what `save` wrote, and the folders of the index stage."""
    arrays, known = read_named(folder / "arrays"), read_json(folder / "known.json")
    path = folder / "texts.arrow"
    with explain_read_errors(path):
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    texts = {name: Texts(table[name].combine_chunks()) for name in table.column_names}
    shape = len(table), len(known["vocabulary"])
    named, held_out = (
        csr_array(tuple(arrays[f"{matrix}_{part}"] for part in SPARSE), shape=shape)
        for matrix in ("named", "held_out")
    )
    corpus = Corpus(
        uid=texts["uid"],
        caption=texts["caption"],
        vocabulary=known["vocabulary"],
        concept_embedding=arrays["concept_embedding"],
        named=named,
        **map_rows(index, features, known["shards"], arrays["rows"], arrays["numbers"]),
    )
    true = {uid: set(names) for uid, names in known["true"].items()}
    return Shared(corpus, texts["kind"], texts["reason"], true, held_out, arrays["measured"])
