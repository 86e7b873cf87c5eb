"""Segments by text: all segments of a folder, embedded by a trained model and searched by inner
product (USE).

The folder of an index holds, for shard NNNNN of the segments, embeddings_NNNNN.npy (float16 [n, D],
L2-normalised) and embeddings_NNNNN.json, written after it, with the digests of what it was made of:
a shard that has these is finished. Over all of them are ids.parquet (row, uid, segment_id, shard),
index.faiss and, written last, index.json with the same digests, dims and count. What was made of
other weights, features or segments is made anew, shard by shard.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from captionseg.encoders.encoder import Encoder, normalise
from captionseg.inference.inputs import PreparedFolders
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.model_encoder import check_encoder
from captionseg.inference.words import class_vectors
from captionseg.modeling.capabilities import EmbedsSegments
from captionseg.prepared import PreparedInputs
from captionseg.records import SEGMENTS, UserError, one_line
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import Index
from captionseg.segment_text.rle import decode
from captionseg.storage.folders import count_rows, hash_files
from captionseg.storage.reading import explain_read_errors, read_array, read_table
from captionseg.storage.writing import write_array, write_json, write_table

log = logging.getLogger(__name__)
PICTURES, PIXELS = 16, 1 << 26  # at once: pictures, and pixels of all their masks
COLUMNS = ["uid", "segment_id", "height", "width", "rle"]
IDS = pa.schema(
    [("row", pa.int64()), ("uid", pa.string()), ("segment_id", pa.string()), ("shard", pa.string())]
)


@dataclass(frozen=True)
class SegmentModel:
    """A trained model that embeds segments and the texts that name them in one space.

    Attributes:
        loaded: a model that has `embed_inputs`.
    """

    loaded: LoadedModel

    @staticmethod
    def load(
        folder: Path, *, device: str = "auto", frozen: Callable[[], Encoder] | None = None
    ) -> SegmentModel:
        """The model of a folder such as models/cocu-use; `frozen` is by default the encoder beside
        it.

        Raises:
            UserError: if the folder holds no model, or one that embeds no segments.
        """
        loaded = LoadedModel.load(
            folder, device=device, frozen=frozen, train="make experiment NAME=segments"
        )
        model = SegmentModel.of(loaded)
        if model is None:
            raise UserError(
                f"{folder}: model {loaded.name} cannot embed segments; use a recipe with "
                "`model: use`"
            )
        if loaded.reads.holds_encoder:
            loaded.model.attach(loaded.frozen())
        return model

    @staticmethod
    def of(loaded: LoadedModel) -> SegmentModel | None:
        """Of a loaded model; None for one that embeds no segments."""
        return SegmentModel(loaded) if isinstance(loaded.model, EmbedsSegments) else None

    @property
    def dims(self) -> int:
        """D of the space."""
        return self.loaded.model.config.text_width

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """[T, D] float32: L2-normalised means over the templates that the model was trained
        with.
        """
        loaded = self.loaded
        vectors = class_vectors(
            loaded.model, loaded.folder, loaded.frozen, texts, loaded.reads.prompts
        )
        return vectors.float().cpu().numpy()

    def inputs(self, prepared: PreparedFolders) -> PreparedInputs:
        """Rows of the index as the model reads them; segments are given, so nobody looks at
        regions.
        """
        return prepared.inputs(replace(self.loaded.reads, segments=0))

    def segments(self, inputs: PreparedInputs, rows: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """[B, S, D] float32, L2-normalised, of masks bool [B, S, H, W] of pictures that are `rows`
        [B] of the index.
        """
        loaded = self.loaded
        moved = loaded.on_device(inputs(rows, (masks.shape[2], masks.shape[3])))
        with torch.inference_mode():
            vectors = loaded.model.embed_inputs(moved, torch.from_numpy(masks).to(loaded.device))
        return vectors.float().cpu().numpy()


@dataclass(frozen=True)
class Hit:
    """A segment that was found.

    Attributes:
        rank: from 1.
        score: cosine of text and segment.
        segment: its row of schema SEGMENTS.
    """

    rank: int
    score: float
    segment: dict[str, Any]


@dataclass(frozen=True)
class SegmentIndex:
    """Segments that can be searched.

    Attributes:
        index: of their embeddings.
        ids: row, uid, segment_id and shard of each; see the module's docstring.
        folder: of the segments.
    """

    index: Index
    ids: pa.Table
    folder: Path

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, query: np.ndarray, k: int, *, min_score: float = -np.inf) -> list[Hit]:
        """The k best segments for an embedded text [D], best first, equal scores in row order; none
        below min_score.
        """
        score, rows = (result[0] for result in self.index.search(query[None], min(k, len(self))))
        best = [i for i in np.lexsort((rows, -score)) if rows[i] >= 0 and score[i] >= min_score]
        segments = self.segments(rows[best])
        return [
            Hit(n, float(score[i]), row)
            for n, (i, row) in enumerate(zip(best, segments, strict=True), 1)
        ]

    def segments(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Rows of schema SEGMENTS."""
        names, first = np.unique(
            self.ids["shard"].to_numpy(zero_copy_only=False), return_index=True
        )
        start = dict(zip(names, first.tolist(), strict=True))
        tables = functools.cache(
            lambda shard: read_table(self.folder / f"{shard}.parquet", schema=SEGMENTS)
        )
        shards = (self.ids["shard"][int(row)].as_py() for row in rows)
        return [
            tables(s).slice(int(row) - start[s], 1).to_pylist()[0]
            for s, row in zip(shards, rows, strict=True)
        ]


def open_index(
    folder: Path, segments: Path, model: SegmentModel, prepared: PreparedFolders
) -> SegmentIndex:
    """The index of all segments of a folder; what is missing of it or stale is made first.

    Args:
        folder: of the index.
        segments: shards of schema SEGMENTS.
        model: that embeds them.
        prepared: their pictures, as earlier stages left them.

    Raises:
        UserError: if there are no segments, or their pictures are not in the index of pictures.
    """
    shards = list_shards(segments)
    home = model.loaded.folder
    check_encoder(home, prepared.encoder)
    source = {
        "model": hash_files([home / "model.safetensors", home / "config.json"]),
        "features": hash_files(
            [prepared.index / "ids.parquet", *sorted(prepared.encoder.glob("*.*"))]
        ),
    }
    made_of = {shard: {**source, "segments": hash_files([file])} for shard, file in shards.items()}
    state = {
        **source,
        "segments": {shard: made["segments"] for shard, made in made_of.items()},
        "count": sum(map(count_segments, shards.values())),
        "dims": model.dims,
    }
    if holds_value(folder / "index.json", state):
        try:
            return load_index(folder, segments, count=state["count"])
        except UserError as error:
            log.warning("%s; it is built again", error)
    remove_leftovers(folder, set(shards))
    embed_shards(folder, shards, made_of, model, prepared)
    assemble(folder, shards, state)
    return load_index(folder, segments, count=state["count"])


def load_index(folder: Path, segments: Path, *, count: int) -> SegmentIndex:
    """The index that a folder holds.

    Raises:
        UserError: if it cannot be read, or is of more or fewer segments.
    """
    ids, index = (
        read_table(folder / "ids.parquet", schema=IDS),
        FaissIndex.load(folder / "index.faiss"),
    )
    if not len(ids) == index.index.ntotal == count:
        raise UserError(
            f"{folder}: {index.index.ntotal} embeddings and {len(ids)} ids for {count} segments; "
            "delete it to build it again"
        )
    return SegmentIndex(index, ids, segments)


def embed_shards(
    folder: Path,
    shards: dict[str, Path],
    made_of: dict[str, dict[str, str]],
    model: SegmentModel,
    prepared: PreparedFolders,
) -> None:
    """Embeddings of all shards that are not finished; one shard is in memory at a time."""
    row_of, inputs = prepared.row_of(), model.inputs(prepared)
    with tqdm(
        total=sum(map(count_segments, shards.values())), desc="segment index", unit="seg"
    ) as bar:
        for shard, file in shards.items():
            mark = folder / f"embeddings_{shard}.json"
            if holds_value(mark, made_of[shard]) and count_rows(
                mark.with_suffix(".npy")
            ) == count_segments(file):
                bar.update(count_segments(file))
                continue
            mark.unlink(missing_ok=True)
            write_array(embed_shard(file, model, inputs, row_of, bar), mark.with_suffix(".npy"))
            write_json(made_of[shard], mark)


def embed_shard(
    file: Path, model: SegmentModel, inputs: PreparedInputs, row_of: dict[str, int], bar: tqdm
) -> np.ndarray:
    """[n, D] float16 embeddings of the segments of a shard."""
    table = read_table(file, schema=SEGMENTS, columns=COLUMNS).to_pydict()
    sizes = list(zip(table["height"], table["width"], strict=True))
    out = np.zeros((len(sizes), model.dims), np.float16)
    for batch in batches(table["uid"], sizes):
        height, width = sizes[batch[0][0]]
        masks = np.zeros(
            (len(batch), max(stop - start for start, stop in batch), height, width), bool
        )
        for row, (start, stop) in zip(masks, batch, strict=True):
            row[: stop - start] = decode(table["rle"][start:stop], height, width)
        uids = [table["uid"][start] for start, _ in batch]
        if strange := next((uid for uid in uids if uid not in row_of), None):
            raise UserError(
                f"{file}: picture {strange} is not in the index; run `dvc repro segment_text`"
            )
        vectors = model.segments(inputs, np.array([row_of[uid] for uid in uids]), masks)
        for row, (start, stop) in zip(vectors, batch, strict=True):
            out[start:stop] = row[: stop - start]
            bar.update(stop - start)
    return out


def batches(
    uids: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> Iterator[list[tuple[int, int]]]:
    """(start, stop) of segments that are embedded at once, one a picture; pictures of a batch have
    the same size.
    """
    batch: list[tuple[int, int]] = []
    for start, stop in spans(uids, sizes):
        area, widest = (
            sizes[start][0] * sizes[start][1],
            max(b - a for a, b in [*batch, (start, stop)]),
        )
        full = len(batch) == PICTURES or (len(batch) + 1) * widest * area > PIXELS
        if batch and (full or sizes[batch[0][0]] != sizes[start]):
            yield batch
            batch = []
        batch.append((start, stop))
    if batch:
        yield batch


def spans(uids: Sequence[str], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(start, stop) of successive segments of one picture, no more than PIXELS allow."""
    start = 0
    for stop in range(1, len(uids) + 1):
        most = max(1, PIXELS // (sizes[start][0] * sizes[start][1]))
        if stop == len(uids) or uids[stop] != uids[start] or stop - start == most:
            yield start, stop
            start = stop


def assemble(folder: Path, shards: dict[str, Path], state: dict[str, Any]) -> None:
    """ids.parquet, index.faiss and index.json out of the embeddings of all shards."""
    (folder / "index.json").unlink(missing_ok=True)
    tables = [
        read_table(file, schema=SEGMENTS, columns=["uid", "segment_id"]) for file in shards.values()
    ]
    names = np.repeat(np.array(list(shards)), [len(table) for table in tables])
    ids = pa.concat_tables(tables)
    columns = [np.arange(len(ids)), ids["uid"], ids["segment_id"], names.tolist()]
    write_table(pa.table(columns, schema=IDS), folder / "ids.parquet")
    parts = [
        read_array(
            folder / f"embeddings_{shard}.npy", rows=len(table), todo="delete it, it is made again"
        )
        for shard, table in zip(shards, tables, strict=True)
    ]
    FaissIndex(normalise(np.concatenate(parts))).save(folder / "index.faiss")
    write_json(state, folder / "index.json")


def list_shards(segments: Path) -> dict[str, Path]:
    """Name -> file of each shard of segments, in order.

    Raises:
        UserError: if there are no segments, or files of another kind.
    """
    shards = {file.stem: file for file in sorted(segments.glob("*.parquet"))}
    if not shards or not any(map(count_segments, shards.values())):
        raise UserError(
            f"{segments}: no segments; run `dvc repro segment_text`, or give the folder that it "
            "wrote"
        )
    for file in shards.values():
        with explain_read_errors(file):
            columns = pq.read_schema(file).names
        if missing := set(COLUMNS) - set(columns):
            raise UserError(f"{file}: not a shard of segments (no {', '.join(sorted(missing))})")
    return shards


def count_segments(file: Path) -> int:
    """Rows of a parquet file, by its footer."""
    try:
        return pq.read_metadata(file).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{file}: cannot be read ({one_line(error)}); create it again") from None


def holds_value(file: Path, value: dict[str, Any]) -> bool:
    """Does a JSON file hold this?"""
    try:
        return json.loads(file.read_text()) == value
    except (OSError, ValueError):
        return False


def remove_leftovers(folder: Path, shards: set[str]) -> None:
    """Remove what a killed run left half written, and embeddings of shards that are no more."""
    for file in [*folder.glob(".*.part"), *folder.glob("embeddings_*.*")]:
        if file.suffix == ".part" or file.stem.removeprefix("embeddings_") not in shards:
            file.unlink()
