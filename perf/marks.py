"""Markers on made-up pairs: seconds of each, and near duplicates against scans of all pairs of
hashes.

    python -m perf.marks [--rows 200000] [--distance 4] [--scanned 50000] [--rounds 1]

The references find every pair of hashes within the distance and then go through the pictures in the
same order as ours: `blocks` by numpy, a block of rows against all before it; `faiss` by
IndexBinaryFlat's range search, which has a loop of machine code over popcounts; `faiss hash` by
IndexBinaryMultiHash, which looks into buckets of five parts of the bits. All give the same leaders.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import faiss
import numpy as np
import pyarrow as pa
import torch
from scipy.sparse import csr_array
from torch import Tensor

from captionseg.marking.hamming import find_near_codes
from captionseg.marking.mark import Marks, mark
from captionseg.marking.marker import Rows
from captionseg.marking.markers import MarksParams
from captionseg.runtime.device import detect
from captionseg.typed import build
from perf.clock import compare

BLOCK = 1024
NOUNS = 2000

CHOSEN = {
    "length": {"min_characters": 5},
    "language": {"min_function_words": 0.05},
    "boilerplate": {},
    "file_names": {},
    "sides": {"min_side": 200, "max_aspect": 3.0},
    "repeated": {"most": 10},
    "exact": {},
    "near": {},
    "semantic": {},
    "balance": {},
}


def draw_codes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random hashes, a fifth of them those of others with up to four bits changed."""
    code = rng.integers(0, 2**64, count, np.uint64)
    copies = rng.permutation(count)[: count // 5]
    code[copies] = code[rng.integers(0, count, len(copies))]
    for _ in range(4):
        bit = np.uint64(1) << rng.integers(0, 64, len(copies)).astype(np.uint64)
        code[copies] ^= np.where(rng.random(len(copies)) < 0.4, bit, np.uint64(0))
    return code


def draw_rows(count: int, rng: np.random.Generator) -> Rows:
    """Pairs of 10 to 20 words; concepts are as frequent as Zipf's law has it."""
    share = 1 / np.arange(1, NOUNS + 1)
    drawn = rng.choice(NOUNS, (count, 3), p=share / share.sum())
    words = np.array([f"word{n}" for n in range(NOUNS)])
    filler = rng.integers(0, NOUNS, (count, 9))
    captions = [
        f"a {' '.join(row)} on the {' '.join(more)}"
        for row, more in zip(words[drawn].tolist(), words[filler].tolist(), strict=True)
    ]
    for at, text in enumerate(("IMG_1234.jpg", "click to enlarge", "shop now")):
        for row in range(at, count, 50):
            captions[row] = text
    named = csr_array(
        (np.ones(drawn.size, bool), (np.repeat(np.arange(count), 3), drawn.ravel())),
        shape=(count, NOUNS),
    )
    vector = rng.normal(size=(count, 64)).astype(np.float32)
    return Rows(
        uid=np.array([f"{n:032x}" for n in range(count)], object),
        caption=pa.array(captions),
        split=np.where(rng.random(count) < 0.02, "test", "train").astype(object),
        picture=np.arange(count),
        digest=rng.integers(0, 10 * count, count),
        phash=draw_codes(count, rng),
        hashed=np.ones(count, bool),
        width=rng.integers(150, 2000, count),
        height=rng.integers(150, 2000, count),
        descriptor=vector / np.linalg.norm(vector, axis=1, keepdims=True),
        named=named,
        vocabulary=words.tolist(),
    )


def lead(count: int, pairs: np.ndarray) -> Tensor:
    """[count] the first leader near each, of all near pairs [n, 2], the lower number first."""
    leader = np.arange(count)
    pairs = pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]
    for first, second in pairs.tolist():
        if leader[second] == second and leader[first] == first:
            leader[second] = first
    return torch.from_numpy(leader)


def scan_blocks(code: np.ndarray, distance: int) -> Tensor:
    """The reference by numpy."""
    found = []
    for start in range(0, len(code), BLOCK):
        block = code[start : start + BLOCK]
        near = np.bitwise_count(block[:, None] ^ code[None, : start + len(block)]) <= distance
        second, first = np.nonzero(near)
        found.append(np.stack([first, second + start], 1)[first < second + start])
    return lead(len(code), np.concatenate(found))


def scan_faiss(code: np.ndarray, distance: int, make: Callable[[], faiss.IndexBinary]) -> Tensor:
    """The reference by an index of faiss."""
    data, index = np.ascontiguousarray(code).view(np.uint8).reshape(len(code), 8), make()
    index.add(data)
    # it finds what is nearer than the radius
    limits, _, number = index.range_search(data, distance + 1)
    pairs = np.stack([number, np.repeat(np.arange(len(code)), np.diff(limits).astype(int))], 1)
    return lead(len(code), pairs[pairs[:, 0] < pairs[:, 1]])


def make_hash(distance: int) -> faiss.IndexBinary:
    """Codes within the distance agree in one of distance + 1 parts."""
    return faiss.IndexBinaryMultiHash(64, distance + 1, 64 // (distance + 1))


def time_markers(rows: Rows) -> dict[str, float]:
    """Seconds of each marker, one after the other, and how many pairs it marks."""
    marks, seconds = Marks.blank(len(rows)), {}
    for name, marker in build(MarksParams, CHOSEN, "curate.marks").list_markers().items():
        start = time.perf_counter()
        after = mark(rows, {name: marker}, marks, seed=0)
        seconds[name] = time.perf_counter() - start
        new = int((after.kind != "").sum() - (marks.kind != "").sum())
        print(f"{name:12} {seconds[name]:7.2f} s  {new:7} marked")
        marks = after
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.marks", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--distance", type=int, default=4)
    parser.add_argument("--scanned", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{arguments.rows} pairs, {torch.get_num_threads()} threads")
    rng = np.random.default_rng(0)
    seconds = time_markers(draw_rows(arguments.rows, rng))
    print(f"all          {sum(seconds.values()):7.2f} s")
    distance = arguments.distance
    code = np.unique(draw_codes(arguments.scanned, rng))
    rng.shuffle(code)
    forms: dict[str, Callable[[], Tensor]] = {
        "captionseg": lambda: torch.from_numpy(find_near_codes(code, distance)),
        "blocks": functools.partial(scan_blocks, code, distance),
        "faiss": functools.partial(scan_faiss, code, distance, lambda: faiss.IndexBinaryFlat(64)),
        "faiss hash": functools.partial(
            scan_faiss, code, distance, functools.partial(make_hash, distance)
        ),
    }
    median, found = compare(forms, arguments.rounds, detect("cpu"))
    print(f"near duplicates of {len(code)} hashes, distance {distance}")
    for name, value in median.items():
        same = torch.equal(found[name], found["captionseg"])
        print(f"{name:12} {value:7.2f} s  {'the same leaders' if same else 'OTHER LEADERS'}")
    fastest = min(value for name, value in median.items() if name != "captionseg")
    print(f"ratio {fastest / median['captionseg']:.2f}")


if __name__ == "__main__":
    main()
