"""Embeddings that another program made: each goes to the picture that it is of, or to none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from captionseg.arrays import Rows
from captionseg.records import UserError
from captionseg.retrieval.embedding_folder import EmbeddingFolder, find_embeddings, strip_folders
from captionseg.retrieval.embedding_folder import replace_embeddings as replace_by_block
from captionseg.storage.writing import write_array, write_table

URLS = [f"https://example.org/a/{name}.jpg" for name in ("cat", "dog", "fox", "owl", "ant")]
KEYS = [f"00000{n:04d}" for n in range(5)]
CAPTIONS = ["a cat", "a dog", "a fox", "an owl", "an ant"]
PAIRS = pa.table({"url": URLS, "key": KEYS, "caption": CAPTIONS})
OWN = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0][:5].astype(np.float32)


def replace_embeddings(folder, rows, own):
    """All blocks of `replace_by_block` in one."""
    return np.concatenate(list(replace_by_block(folder, rows, Rows(own))))


def write(folder, order, *, files=2, vectors=OWN, **columns):
    """A folder as clip-retrieval leaves it: rows in another order, in several files."""
    for number, rows in enumerate(np.array_split(np.array(order), files)):
        write_array(
            (3 * vectors[rows]).astype(np.float16), folder / "img_emb" / f"img_emb_{number}.npy"
        )
        table = pa.table({name: [values[row] for row in rows] for name, values in columns.items()})
        write_table(table, folder / "metadata" / f"metadata_{number}.parquet")
    return folder


@pytest.mark.parametrize(
    "columns",
    [
        {"url": URLS},
        {"image_path": URLS},
        {"image_path": KEYS, "caption": CAPTIONS},
        {"image_path": [f"/data/{u.rsplit('/')[-1]}" for u in URLS], "caption": CAPTIONS},
        {"image_path": ["other"] * 5, "url": URLS, "caption": ["other"] * 5},
    ],
    ids=["url", "path", "key and caption", "name and caption", "url before all"],
)
def test_a_pair_finds_its_row(tmp_path, columns):
    order = [3, 1, 4, 0]  # nothing of the fox
    folder = EmbeddingFolder.open(write(tmp_path, order, **columns))
    rows = folder.match(PAIRS)
    assert rows.tolist() == [3, 1, -1, 0, 2]
    found = replace_embeddings(folder, rows, OWN)
    np.testing.assert_allclose(found, OWN, atol=2e-3)
    np.testing.assert_array_equal(found[2], OWN[2])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)


def test_a_key_alone_says_nothing(tmp_path):
    """Another download of the list has the same keys for other pictures."""
    folder = EmbeddingFolder.open(write(tmp_path, [0, 1, 2], image_path=KEYS, caption=["x"] * 5))
    assert (folder.match(PAIRS) == -1).all()


def test_places_count_only_where_all_keys_agree(tmp_path):
    same = EmbeddingFolder.open(write(tmp_path / "same", range(5), image_path=KEYS))
    assert same.match(PAIRS).tolist() == [0, 1, 2, 3, 4]
    for name, order in (("order", [1, 0, 2, 3, 4]), ("count", [0, 1, 2, 3])):
        other = EmbeddingFolder.open(write(tmp_path / name, order, image_path=KEYS))
        assert (other.match(PAIRS) == -1).all()


def test_ten_files_are_read_in_order_of_their_numbers(tmp_path):
    many = 12
    urls = [str(n) for n in range(many)]
    vectors = np.eye(many, dtype=np.float32)
    folder = EmbeddingFolder.open(
        write(tmp_path, range(many), files=many, vectors=vectors, url=urls)
    )
    pairs = pa.table({"url": urls, "key": urls, "caption": urls})
    np.testing.assert_array_equal(folder.read(folder.match(pairs)), 3 * vectors)


def test_what_is_no_vector_is_embedded_here(tmp_path, caplog):
    given = OWN.copy()
    given[1] = 0
    given[3] = np.nan
    folder = EmbeddingFolder.open(write(tmp_path, range(5), vectors=given, url=URLS))
    found = replace_embeddings(folder, folder.match(PAIRS), OWN)
    np.testing.assert_allclose(found, OWN, atol=2e-3)
    assert "has no embedding of 2 of 5 pairs; those are embedded by index.encoder" in caplog.text


def test_embeddings_of_another_model_are_refused(tmp_path):
    folder = EmbeddingFolder.open(write(tmp_path, range(5), vectors=OWN[::-1], url=URLS))
    with pytest.raises(UserError, match=r"another model than index\.encoder: the median cosine"):
        replace_embeddings(folder, folder.match(PAIRS), OWN)


def test_folders_that_cannot_be_used(tmp_path):
    write(tmp_path / "good", range(5), url=URLS)
    for path, width, aligned, message in (
        ("good", 8, False, "set index.encoder to open_clip"),
        ("good", 512, True, "8 values a row, the text space of index.encoder has 512"),
        ("nowhere", 8, True, "no files img_emb_0.npy, img_emb_1.npy"),
    ):
        with pytest.raises(UserError, match=message):
            find_embeddings(tmp_path / path, PAIRS, aligned=aligned, width=width)
    write(tmp_path / "others", range(5), url=["x"] * 5, caption=CAPTIONS)
    with pytest.raises(UserError, match="has none of the 5 pairs"):
        find_embeddings(tmp_path / "others", PAIRS, aligned=True, width=8)


def test_files_that_do_not_fit_together(tmp_path):
    write(tmp_path / "short", range(5), url=URLS)
    write_array(OWN[:1], tmp_path / "short" / "img_emb" / "img_emb_1.npy")
    with pytest.raises(UserError, match=r"img_emb_1\.npy.*expected 2 rows, found 1"):
        EmbeddingFolder.open(tmp_path / "short")
    write(tmp_path / "wide", range(5), url=URLS)
    write_array(np.eye(9, dtype=np.float32)[:2], tmp_path / "wide" / "img_emb" / "img_emb_1.npy")
    with pytest.raises(UserError, match="9 values a row, others have 8"):
        EmbeddingFolder.open(tmp_path / "wide")
    write(tmp_path / "nameless", range(5), caption=CAPTIONS)
    with pytest.raises(UserError, match="neither url nor image_path"):
        EmbeddingFolder.open(tmp_path / "nameless")
    write(tmp_path / "alone", range(5), url=URLS)
    (tmp_path / "alone" / "metadata" / "metadata_0.parquet").unlink()
    with pytest.raises(UserError, match=r"metadata_0\.parquet: no such file"):
        EmbeddingFolder.open(tmp_path / "alone")


def test_names_of_files():
    names = ["https://example.org/a/b.c.jpg", "000000012", "a/photo", "x.JPEG", None]
    assert strip_folders(pa.chunked_array([names])).to_pylist() == [
        "b.c",
        "000000012",
        "photo",
        "x",
        None,
    ]
