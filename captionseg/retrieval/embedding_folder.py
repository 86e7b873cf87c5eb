"""Image embeddings that clip-retrieval made, found again for our pairs.

    FOLDER/img_emb/img_emb_0.npy, img_emb_1.npy ...            [n, D] floats
    FOLDER/metadata/metadata_0.parquet, metadata_1.parquet ... image_path, caption, url: n rows

Row i of a file of metadata is row i of the embeddings of that number. A pair is found by what its
row says, in this order:

1. its URL, in `url`, or in `image_path`, where clip-retrieval puts the name of a file;
2. its caption, and its key or the name of its file, in `image_path`. A key alone says nothing:
   another download of the same list gives others;
3. by its place, only where `image_path` has exactly our keys in our order.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.records import UserError
from captionseg.storage.folders import list_files
from captionseg.storage.reading import explain_read_errors, read_array, read_table

log = logging.getLogger(__name__)
pc: Any = compute  # its functions are made when it is imported

NAMES = ("url", "image_path", "caption")
"""Columns of the metadata that pairs are found by."""

ALIKE = 0.5
"""Median cosine of two embeddings of one picture from which on they are taken for those of one
model: pictures that were resized otherwise stay above .9, other models are near 0."""

TODO = "make it with clip-retrieval's `inference`, or leave index.embeddings out"


@dataclass(frozen=True)
class EmbeddingFolder:
    """Embeddings with what is known of their rows.

    Attributes:
        path: the folder.
        arrays: [n, D] of each file, memory-mapped.
        metadata: columns NAMES of all rows, null where the folder does not have them.
    """

    path: Path
    arrays: Sequence[np.ndarray]
    metadata: pa.Table

    @property
    def width(self) -> int:
        """D."""
        return self.arrays[0].shape[1]

    @staticmethod
    def open(path: Path) -> EmbeddingFolder:
        """A folder as clip-retrieval leaves it.

        Raises:
            UserError: for one that is not, or where embeddings and metadata are not of the same
                rows.
        """
        arrays, tables = [], []
        for file in list_numbered(path / "img_emb", ".npy", "img_emb_"):
            number = file.stem.removeprefix("img_emb_")
            other = path / "metadata" / f"metadata_{number}.parquet"
            table = read_table(other, todo=TODO)
            names = [name for name in NAMES if name in table.column_names]
            if not {"url", "image_path"} & set(names):
                raise UserError(f"{other}: it has neither url nor image_path; {TODO}")
            array = read_array(file, rows=len(table), todo=TODO)
            with explain_read_errors(file, TODO):
                if array.ndim != 2 or array.dtype.kind != "f":
                    raise ValueError(f"{array.dtype}{list(array.shape)}, expected rows of floats")
                if arrays and array.shape[1] != arrays[0].shape[1]:
                    raise ValueError(
                        f"{array.shape[1]} values a row, others have {arrays[0].shape[1]}"
                    )
            nothing = pa.nulls(len(table), pa.string())
            columns = [table[n].cast(pa.string()) if n in names else nothing for n in NAMES]
            arrays.append(array)
            tables.append(pa.table(columns, NAMES))
        return EmbeddingFolder(path, arrays, pa.concat_tables(tables).combine_chunks())

    def match(self, pairs: pa.Table) -> np.ndarray:
        """[N] int64: which row has the embedding of each pair's picture, -1 where none has.

        Args:
            pairs: N rows with url, key and caption.
        """
        theirs, found = self.metadata, np.full(len(pairs), -1)
        stems = strip_folders(theirs["image_path"])
        for ours, there in (
            (pairs["url"], theirs["url"]),
            (pairs["url"], theirs["image_path"]),
            (join(pairs["key"], pairs["caption"]), join(stems, theirs["caption"])),
            (join(strip_folders(pairs["url"]), pairs["caption"]), join(stems, theirs["caption"])),
        ):
            rows = pc.index_in(ours, value_set=there.combine_chunks(), skip_nulls=True)
            found = np.where(found < 0, pc.fill_null(rows, -1).to_numpy(), found)
        if (found < 0).all() and pairs["key"].combine_chunks().equals(
            theirs["image_path"].combine_chunks()
        ):
            return np.arange(len(pairs))
        return found

    def read(self, rows: np.ndarray) -> np.ndarray:
        """[n, D] float32 embeddings of some rows, as they are in the files."""
        out = np.empty((len(rows), self.width), np.float32)
        ends = np.cumsum([len(array) for array in self.arrays])
        file = np.searchsorted(ends, rows, side="right")
        for number, array in enumerate(self.arrays):
            wanted = np.flatnonzero(file == number)
            out[wanted] = array[rows[wanted] - (ends[number] - len(array))]
        return out


def list_numbered(folder: Path, suffix: str, prefix: str) -> list[Path]:
    """The files of a folder that are named by number, lowest first."""
    files = list_files(folder, suffix) if folder.is_dir() else []
    found = {file.stem.removeprefix(prefix): file for file in files if file.stem.startswith(prefix)}
    if not found or not all(name.isdecimal() for name in found):
        raise UserError(f"{folder}: no files {prefix}0{suffix}, {prefix}1{suffix} ...; {TODO}")
    return [found[name] for name in sorted(found, key=int)]


def strip_folders(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths or URLs without folders and without the ending of the name."""
    return pc.replace_substring_regex(paths, r"^.*/|\.[A-Za-z0-9]{1,5}$", "")


def join(first: pa.ChunkedArray, second: pa.ChunkedArray) -> pa.ChunkedArray:
    """Two columns as one; null where either is."""
    return pc.binary_join_element_wise(first, second, "\0")


def find_embeddings(
    path: Path, pairs: pa.Table, *, aligned: bool, width: int
) -> tuple[EmbeddingFolder, np.ndarray]:
    """The folder of section `index`, and its row of each pair, -1 where it has none.

    Args:
        path: of the folder.
        pairs: N rows with url, key and caption.
        aligned: whether the encoder has pictures and texts in one space by itself.
        width: of its text space.

    Raises:
        UserError: if the folder cannot be of that space, or has none of the pairs.
    """
    if not aligned:
        raise UserError(
            "index.embeddings: embeddings of another program fit an encoder only that has pictures "
            "and texts in one space by itself; set index.encoder to open_clip, with the model that "
            "made them"
        )
    folder = EmbeddingFolder.open(path)
    if folder.width != width:
        raise UserError(
            f"index.embeddings: {path} has {folder.width} values a row, the text space of "
            f"index.encoder has {width}; set index.open_clip to the model that made them"
        )
    rows = folder.match(pairs)
    if (rows < 0).all():
        raise UserError(
            f"index.embeddings: {path} has none of the {len(pairs)} pairs, by url, by image_path "
            "or by key and caption; were they made of these pictures?"
        )
    return folder, rows


def replace_embeddings(folder: EmbeddingFolder, rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Embeddings of the folder where it has them, the encoder's own elsewhere.

    Args:
        folder: the embeddings.
        rows: [N] which row is of each pair, -1 where none is.
        own: [N, D] float32 by the encoder, L2-normalised.

    Returns:
        [N, D] float32, L2-normalised.

    Raises:
        UserError: if they are of another model than the encoder.
    """
    there = np.flatnonzero(rows >= 0)
    given = folder.read(rows[there])
    norm = np.linalg.norm(given, axis=1, keepdims=True)
    usable = np.isfinite(norm[:, 0]) & (norm[:, 0] > 0)
    there, given = there[usable], given[usable] / norm[usable]
    cosine = np.median((given * own[there]).sum(1)) if len(there) else 0.0
    if cosine < ALIKE:
        raise UserError(
            f"index.embeddings: {folder.path} is of another model than index.encoder: the median "
            f"cosine of both embeddings of a picture is {cosine:.2f}"
        )
    if missing := len(own) - len(there):
        log.warning(
            "index.embeddings: %s has no embedding of %d of %d pairs; those are embedded by "
            "index.encoder",
            folder.path,
            missing,
            len(own),
        )
    out = own.copy()
    out[there] = given
    return out
