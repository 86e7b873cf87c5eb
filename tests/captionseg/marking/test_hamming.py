import numpy as np
import pytest

from captionseg.marking import leaders
from captionseg.marking.hamming import MOST, choose_parts, find_near_codes, list_masks


def test_by_hand():
    code = np.array([0b0000, 0b0111, 0b0011, 0b0000, 0b11111111], np.uint64)
    assert find_near_codes(code, 0).tolist() == [0, 1, 2, 0, 4]
    assert find_near_codes(code, 1).tolist() == [0, 1, 1, 0, 4]  # 2 differs from 1 in a bit
    assert find_near_codes(code, 2).tolist() == [0, 1, 0, 0, 4]  # the first counts, not the nearest
    assert find_near_codes(code, 3).tolist() == [0, 0, 0, 0, 4]
    assert find_near_codes(code, 3, forced=2).tolist() == [0, 1, 0, 0, 4]
    again = np.array([0, 1, 1], np.uint64)
    assert find_near_codes(again, 3, forced=2).tolist() == [0, 1, 1]  # of the same code


def draw(rng: np.random.Generator, count: int) -> np.ndarray:
    """Codes in groups that differ in 0 to 12 bits."""
    code = rng.integers(0, 2**64, count // 4, np.uint64)[rng.integers(0, count // 4, count)]
    for _ in range(6):
        bit = np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        code = code ^ np.where(rng.random(count) < 0.2, bit, np.uint64(0))
    return code


def compare_all(code: np.ndarray, distance: int, forced: int) -> list[int]:
    """Each with each, in order."""
    kept: list[int] = []
    leader = []
    for number, one in enumerate(code):
        differing = np.bitwise_count(code[kept] ^ one) if kept else np.zeros(0)
        near = np.flatnonzero(differing == 0)
        if not len(near) and number >= forced:
            near = np.flatnonzero(differing <= distance)
        leader.append(kept[near[0]] if len(near) else number)
        kept += [] if len(near) else [number]
    return leader


@pytest.mark.parametrize("distance", range(MOST + 1))
def test_as_each_compared_with_each(distance, monkeypatch):
    monkeypatch.setattr(leaders, "LEAF", 8)
    code = draw(np.random.default_rng(distance), 400)
    for forced in (0, 30):
        found = find_near_codes(code, distance, forced=forced).tolist()
        assert found == compare_all(code, distance, forced)
        assert 0.05 < np.mean(np.array(found) != np.arange(400)) < 0.95


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_whoever_is_near_agrees_in_the_bits_of_some_mask(parts):
    rng, masks = np.random.default_rng(0), list_masks(4, parts)
    for _ in range(200):
        bits = rng.permutation(64)[: rng.integers(0, 5)]
        differing = np.uint64(sum(1 << int(b) for b in bits))
        assert any(not differing & mask for mask in masks)
    every = np.bitwise_or.reduce(masks)
    assert every == np.uint64(2**64 - 1)


def test_more_codes_are_looked_up_by_more_bits():
    chosen = [choose_parts(n, n, 4) for n in (10**3, 10**5, 10**7, 10**9)]
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[-1]


def test_equal_codes_cost_nothing():
    assert find_near_codes(np.zeros(300_000, np.uint64), 4).tolist() == [0] * 300_000


def test_no_code():
    assert find_near_codes(np.zeros(0, np.uint64), 4).tolist() == []
