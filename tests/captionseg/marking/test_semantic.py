import numpy as np

from captionseg.marking.semantic import Semantic
from tests.captionseg.marking.rows import marked, rows_of


def test_a_cosine_above_the_threshold_is_one_picture():
    vector = [[1, 0], [0.8, 0.6], [0, 1]]  # cosines .8, 0 and .6
    rows = rows_of(3, descriptor=vector)
    assert marked(Semantic(similarity=0.79), rows) == {
        1: ("semantic_duplicate", f"semantic duplicate of {rows.uid[0]} (cosine 0.800)", 0)
    }
    assert marked(Semantic(similarity=0.81), rows) == {}
    assert sorted(marked(Semantic(similarity=0.59), rows)) == [
        1
    ]  # 2 is near 1 alone, which is gone


def test_several_captions_and_held_out_pictures():
    vector = [[1, 0], [1, 0], [1, 0], [0, 1]]
    rows = rows_of(4, descriptor=vector, picture=[0, 0, 1, 2])
    assert sorted(marked(Semantic(), rows)) == [2]
    rows = rows_of(4, descriptor=vector, split=["train", "train", "test", "train"])
    assert {r: (k, t) for r, (k, _, t) in marked(Semantic(), rows).items()} == {
        0: ("leak", 2),
        1: ("leak", 2),
    }


def draw(groups: int, copies: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    vector = np.repeat(rng.normal(size=(groups, 32)), copies, axis=0)
    vector += 0.01 * rng.normal(size=vector.shape)
    return vector / np.linalg.norm(vector, axis=1, keepdims=True)


def test_clusters_find_the_same_groups():
    rows = rows_of(120, descriptor=draw(40, 3))
    whole = marked(Semantic(cluster=1000), rows)
    assert sorted(whole) == [n for n in range(120) if n % 3]
    for cluster in (7, 30):
        assert marked(Semantic(cluster=cluster), rows) == whole


def test_every_twin_is_kept_and_near_and_no_two_kept_of_a_cluster_are():
    rng = np.random.default_rng(1)
    vector = rng.normal(size=(200, 4))
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    found = marked(Semantic(similarity=0.9, cluster=1000), rows_of(200, descriptor=vector))
    kept = [n for n in range(200) if n not in found]
    assert all(twin in kept and vector[n] @ vector[twin] >= 0.9 for n, (*_, twin) in found.items())
    cosine = vector[kept] @ vector[kept].T
    assert (cosine[~np.eye(len(kept), dtype=bool)] < 0.9).all()
