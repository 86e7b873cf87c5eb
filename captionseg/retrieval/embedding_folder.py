"""Image embeddings made by clip-retrieval, matched to our pairs.

    FOLDER/img_emb/img_emb_0.npy, img_emb_1.npy ...            [n, D] floats
    FOLDER/metadata/metadata_0.parquet, metadata_1.parquet ... image_path, caption, url: n rows

Row i of a file of metadata describes row i of the embeddings with the same number. Pairs are
matched in this order:

1. by URL, in `url` or in `image_path`, where clip-retrieval puts the name of a file;
2. by caption, and key or name of the file in `image_path`. A key alone is not enough, because
   another download of the same list has other keys;
3. by position, only if `image_path` has exactly our keys in our order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.arrays import Rows
from captionseg.records import UserError
from captionseg.storage.folders import list_files
from captionseg.storage.reading import explain_read_errors, read_array, read_table

log = logging.getLogger(__name__)
pc: Any = compute  # its functions are made when it is imported

NAMES = ("url", "image_path", "caption")
"""Columns of the metadata by which pairs are matched."""

ALIKE = 0.5
"""Minimum median cosine of two embeddings of the same picture by the same model. It is above 0.9
for differently resized pictures, and near 0 for different models.
"""

TODO = "make it with clip-retrieval's `inference`, or leave index.embeddings out"


@dataclass(frozen=True)
class EmbeddingFolder:
    """A folder of embeddings with their metadata.

    Attributes:
        path: the folder.
        arrays: [n, D] embeddings of each file, memory-mapped.
        metadata: columns NAMES of all rows, null if the folder does not have them.
    """

    path: Path
    arrays: Sequence[np.ndarray]
    metadata: pa.Table

    @property
    def width(self) -> int:
        """D, width of the embeddings."""
        return self.arrays[0].shape[1]

    @staticmethod
    def open(path: Path) -> EmbeddingFolder:
        """Open a folder made by clip-retrieval.

        Raises:
            UserError: for another folder, or if embeddings and metadata do not match.
        """
        arrays, tables = [], []
        for file in list_numbered(path / "img_emb", ".npy", "img_emb_"):
            number = file.stem.removeprefix("img_emb_")
            metadata = path / "metadata" / f"metadata_{number}.parquet"
            table = read_table(metadata, todo=TODO)
            names = [name for name in NAMES if name in table.column_names]
            if not {"url", "image_path"} & set(names):
                raise UserError(f"{metadata}: it has neither url nor image_path; {TODO}")
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
        """Return the row with the embedding of each pair's picture, [N] int64; -1 for none.

        Args:
            pairs: N rows with url, key and caption.
        """
        theirs, matched = self.metadata, np.full(len(pairs), -1)
        stems = strip_folders(theirs["image_path"])
        for ours, values in (
            (pairs["url"], theirs["url"]),
            (pairs["url"], theirs["image_path"]),
            (join(pairs["key"], pairs["caption"]), join(stems, theirs["caption"])),
            (join(strip_folders(pairs["url"]), pairs["caption"]), join(stems, theirs["caption"])),
        ):
            rows = pc.index_in(ours, value_set=values.combine_chunks(), skip_nulls=True)
            matched = np.where(matched < 0, pc.fill_null(rows, -1).to_numpy(), matched)
        if (matched < 0).all() and pairs["key"].combine_chunks().equals(
            theirs["image_path"].combine_chunks()
        ):
            return np.arange(len(pairs))
        return matched

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read rows [n]: [n, D] float32 embeddings, not normalised."""
        out = np.empty((len(rows), self.width), np.float32)
        ends = np.cumsum([len(array) for array in self.arrays])
        file = np.searchsorted(ends, rows, side="right")
        for number, array in enumerate(self.arrays):
            here = np.flatnonzero(file == number)
            out[here] = array[rows[here] - (ends[number] - len(array))]
        return out


def list_numbered(folder: Path, suffix: str, prefix: str) -> list[Path]:
    """List the numbered files of a folder, lowest first.

    Raises:
        UserError: if there are none.
    """
    files = list_files(folder, suffix) if folder.is_dir() else []
    by_number = {f.stem.removeprefix(prefix): f for f in files if f.stem.startswith(prefix)}
    if not by_number or not all(name.isdecimal() for name in by_number):
        raise UserError(f"{folder}: no files {prefix}0{suffix}, {prefix}1{suffix} ...; {TODO}")
    return [by_number[name] for name in sorted(by_number, key=int)]


def strip_folders(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths or URLs without folders and without the ending of the name."""
    return pc.replace_substring_regex(paths, r"^.*/|\.[A-Za-z0-9]{1,5}$", "")


def join(first: pa.ChunkedArray, second: pa.ChunkedArray) -> pa.ChunkedArray:
    """Join two columns; null if either is null."""
    return pc.binary_join_element_wise(first, second, "\0")


def find_embeddings(
    path: Path, pairs: pa.Table, *, aligned: bool, width: int
) -> tuple[EmbeddingFolder, np.ndarray]:
    """Open a folder of embeddings, and match its rows to pairs.

    Args:
        path: the folder.
        pairs: N rows with url, key and caption.
        aligned: whether the encoder is aligned with text, see Encoder.
        width: width of its text space.

    Returns:
        the folder, and its row of each pair [N], -1 for none.

    Raises:
        UserError: if the folder does not fit the encoder, or has none of the pairs.
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


def replace_embeddings(
    folder: EmbeddingFolder, rows: np.ndarray, own: Rows
) -> Iterator[np.ndarray]:
    """Replace the encoder's embeddings by those of a folder, for pairs that the folder has.

    Args:
        folder: the folder.
        rows: [N] its row of each pair, -1 for none.
        own: [N, D] embeddings by the encoder, L2-normalised.

    Returns:
        blocks of the N rows in order: [n, D] float32, L2-normalised.

    Raises:
        UserError: if the folder was made by another model.
    """
    cosine = np.full(len(own), np.nan, np.float32)
    for start, block in enumerate_blocks(own):
        stored, usable = read_normalised(folder, rows[start : start + len(block)])
        cosine[start : start + len(block)][usable] = (stored[usable] * block[usable]).sum(1)
    pairs = int(np.isfinite(cosine).sum())
    middle = float(np.nanmedian(cosine)) if pairs else 0.0
    if middle < ALIKE:
        raise UserError(
            f"index.embeddings: {folder.path} is of another model than index.encoder: the median "
            f"cosine of both embeddings of a picture is {middle:.2f}"
        )
    if missing := len(own) - pairs:
        log.warning(
            "index.embeddings: %s has no embedding of %d of %d pairs; those are embedded by "
            "index.encoder",
            folder.path,
            missing,
            len(own),
        )
    return (
        take_usable(*read_normalised(folder, rows[start : start + len(block)]), block)
        for start, block in enumerate_blocks(own)
    )


def enumerate_blocks(rows: Rows) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the blocks of rows, each with the number of its first row."""
    return zip(range(0, len(rows), rows.BLOCK), rows.blocks(), strict=True)


def read_normalised(folder: EmbeddingFolder, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read rows [n] of a folder, -1 for none: [n, D] float32, L2-normalised; and whether there is
    such a row that has a direction, [n] bool.
    """
    stored, there = np.zeros((len(rows), folder.width), np.float32), rows >= 0
    stored[there] = folder.read(rows[there])
    norm = np.linalg.norm(stored, axis=1, keepdims=True)
    usable = np.isfinite(norm[:, 0]) & (norm[:, 0] > 0)
    stored[usable] /= norm[usable]
    return stored, usable


def take_usable(stored: np.ndarray, usable: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Take stored rows where they are usable, and own ones elsewhere."""
    return np.where(usable[:, None], stored, own)
