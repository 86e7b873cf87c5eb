"""Words of one meaning, by hand and against plain loops."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from captionseg.text.alike import find_alike, widen


def normalise(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_the_threshold_is_in_deviations_above_the_mean_of_all_pairs() -> None:
    embedding = normalise(np.random.default_rng(0).standard_normal((40, 8)))
    names = [f"word {chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(40)]
    pairs = [(i, j) for i in range(40) for j in range(40) if i != j]
    cosines = np.array([embedding[i] @ embedding[j] for i, j in pairs])
    least = cosines.mean() + 2 * cosines.std()
    expected = {pair for pair, cosine in zip(pairs, cosines, strict=True) if cosine >= least}
    found = find_alike(names, embedding, 2.0).toarray()
    assert expected
    assert {(i, j) for i, j in zip(*np.nonzero(found), strict=True) if i != j} == expected
    assert found.diagonal().all()
    assert (found == found.T).all()


def test_a_common_offset_of_all_texts_changes_nothing() -> None:
    """As in CLIP's space, where all texts are similar."""
    rng = np.random.default_rng(1)
    words = rng.standard_normal((30, 64))
    words[1] = words[0] + 0.1 * rng.standard_normal(64)
    names = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(30)]
    for offset in (0.0, 2.0):
        found = find_alike(names, normalise(words + offset), 4.0).toarray()
        assert set(zip(*np.nonzero(np.triu(found, 1)), strict=True)) == {(0, 1)}


def test_a_compound_is_like_its_end_and_not_like_its_beginning() -> None:
    names = ["swimming pool", "pool", "pool table", "table", "hot-dog", "dog"]
    found = find_alike(names, normalise(np.eye(6)), 0.0).toarray()
    assert set(zip(*np.nonzero(np.triu(found, 1)), strict=True)) == {(0, 1), (2, 3), (4, 5)}


def test_one_concept_alone_and_none() -> None:
    assert find_alike(["dog"], normalise(np.ones((1, 3))), 3.5).toarray().all()
    assert find_alike([], np.zeros((0, 3), np.float32), 3.5).shape == (0, 0)


def test_rows_are_widened_by_what_is_alike() -> None:
    names = ["swimming pool", "pool", "dog"]
    alike = find_alike(names, normalise(np.eye(3)), 0.0)
    held = csr_array(np.array([[1, 0, 0], [0, 0, 2], [0, 0, 0], [0, 1, 1]]))
    wide = widen(held, alike)
    rows = np.split(wide.indices, wide.indptr[1:-1])
    assert [row.tolist() for row in rows] == [[0, 1], [2], [], [0, 1, 2]]
