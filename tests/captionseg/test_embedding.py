"""Captions and images of pairs in one space, read and written block by block."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from captionseg import embedding
from captionseg.arrays import Rows
from captionseg.embedding import embed_captions, write_rows
from captionseg.storage.writing import write_array, write_table


class Lengths:
    """Embeds a text as its length and its first letter, and counts."""

    def __init__(self):
        self.seen: list[list[str]] = []

    def text(self, texts):
        self.seen.append(list(texts))
        return np.array([[len(t), ord(t[0])] for t in texts], np.float32)


def captions(*texts):
    """In two chunks, as those of several shards are."""
    return pa.chunked_array([list(texts[:2]), list(texts[2:])], pa.string())


def read(rows):
    return rows[np.arange(len(rows))].tolist()


@pytest.fixture
def pairwise(monkeypatch):
    """Two captions a file."""
    monkeypatch.setattr(embedding, "CAPTIONS", 2)


def test_each_caption_is_embedded_once_in_order_of_length(tmp_path, pairwise):
    encoder = Lengths()
    rows = embed_captions(encoder, captions("ccc", "b", "ccc", "aa", "b", "a"), tmp_path)
    assert encoder.seen == [["a", "b"], ["aa", "ccc"]]
    assert read(rows) == [[3, 99], [1, 98], [3, 99], [2, 97], [1, 98], [1, 97]]
    assert (len(rows), rows.width) == (6, 2)


def test_captions_that_are_embedded_already_are_kept(tmp_path, pairwise):
    embed_captions(Lengths(), captions("ccc", "b", "a"), tmp_path)
    encoder = Lengths()
    rows = embed_captions(encoder, captions("dddd", "a", "ccc", "dddd"), tmp_path)
    assert encoder.seen == [["dddd"]]
    assert read(rows) == [[4, 100], [1, 97], [3, 99], [4, 100]]
    assert read(embed_captions(None, captions("b", "dddd"), tmp_path)) == [[1, 98], [4, 100]]


@pytest.mark.parametrize("lost", ["captions_00001.parquet", "text_00001.npy"])
def test_a_file_that_is_lost_is_made_again(tmp_path, pairwise, lost):
    texts = captions("a", "bb", "ccc", "dddd", "eeeee")
    first = read(embed_captions(Lengths(), texts, tmp_path))
    (tmp_path / lost).unlink()
    encoder = Lengths()
    assert read(embed_captions(encoder, texts, tmp_path)) == first
    # those behind it are made again, too, into files of their own
    assert encoder.seen == [["ccc", "dddd"], ["eeeee"]]
    assert len(list(tmp_path.iterdir())) == 6


def test_a_killed_run_never_leaves_captions_of_other_embeddings(tmp_path, pairwise, monkeypatch):
    """Of a file that is written again the table goes first."""
    texts = captions("a", "bb", "ccc", "dddd")
    embed_captions(Lengths(), texts, tmp_path)
    (tmp_path / "text_00000.npy").unlink()
    monkeypatch.setattr(embedding, "write_table", None)
    with pytest.raises(TypeError):
        embed_captions(Lengths(), captions("x", "yy", "a"), tmp_path)
    monkeypatch.undo()
    rows = embed_captions(Lengths(), captions("x", "bb", "ccc"), tmp_path)
    assert read(rows) == [[1, 120], [2, 98], [3, 99]]


def test_rows_come_from_a_file(tmp_path):
    blocks = [np.ones((2, 3)), np.zeros((1, 3))]
    rows = write_rows(blocks, Rows(np.zeros((3, 3))), tmp_path / "image.npy")
    assert read(rows) == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert isinstance(rows.matrix, np.memmap)
    with pytest.raises(RuntimeError, match="2 rows were written, expected 3"):
        write_rows(blocks[:1], Rows(np.zeros((3, 3))), tmp_path / "short.npy")
    assert [p.name for p in tmp_path.iterdir()] == ["image.npy"]


def test_a_table_that_is_of_other_captions_is_not_believed(tmp_path):
    write_table(pa.table({"caption": ["a", "b", "c"]}), tmp_path / "captions_00000.parquet")
    write_array(np.zeros((2, 2), np.float32), tmp_path / "text_00000.npy")
    assert read(embed_captions(Lengths(), captions("a", "b"), tmp_path)) == [[1, 97], [1, 98]]
