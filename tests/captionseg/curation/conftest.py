"""A small random corpus, and CoCu's archive made by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.records import Corpus


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def corpus_of(
    images: np.ndarray,
    concepts: dict[str, list[float]],
    named: list[set[str]],
    near: list[list[int]],
    near_captions: list[list[int]] | None = None,
) -> Corpus:
    names = list(concepts)
    return Corpus(
        uid=np.array([f"{i:032x}" for i in range(len(images))], object),
        caption=[" ".join(sorted(row)) for row in named],
        image_embedding=np.asarray(images, np.float32),
        image_feature=np.asarray(images, np.float32),
        neighbours=np.array(near, np.int32),
        caption_neighbours=np.array(near_captions or near, np.int32),
        vocabulary=names,
        concept_embedding=np.array(list(concepts.values()), np.float32),
        named=csr_array(np.array([[name in row for name in names] for row in named])),
    )


@pytest.fixture
def by_hand() -> Corpus:
    """Six images on the unit circle, three concepts; image 0 has neighbours 1, 2, 3.

    f = (1 + cosine) / 2:   dog  grass  car
        image 0             .8   .9     .2    its caption names dog; the cosine with car is -.6
        image 1             1    .5     0     dog, grass
        image 2             .5   1      .5    grass
        image 3             .9   .8     .1    car
        image 4             .2   .9     .8    names nothing; its one neighbour is image 2
        image 5             .5   0      .5    names nothing, has no neighbour
    """
    return corpus_of(
        np.array([[0.6, 0.8], [1, 0], [0, 1], [0.8, 0.6], [-0.6, 0.8], [0, -1]]),
        {"dog": [1, 0], "grass": [0, 1], "car": [-1, 0]},
        [{"dog"}, {"dog", "grass"}, {"grass"}, {"car"}, set(), set()],
        [[1, 2, 3], [0, 2, 3], [0, 1, 4], [1, 0, 5], [2, -1, -1], [-1, -1, -1]],
    )


@pytest.fixture
def make_corpus() -> Callable[..., Corpus]:
    """images, concepts, neighbours, dimensions, seed -> a random corpus, the last image without a
    neighbour or name.
    """

    def make(
        images: int = 40,
        concepts: int = 12,
        neighbours: int = 9,
        dimensions: int = 6,
        seed: int = 0,
    ) -> Corpus:
        rng = np.random.default_rng(seed)
        embedding = unit(rng.normal(size=(images, dimensions)))
        named = rng.random((images, concepts)) < 0.2
        named[-1] = False
        near, near_captions = (
            np.stack(
                [
                    rng.permutation(np.delete(np.arange(images), i))[:neighbours]
                    for i in range(images)
                ]
            )
            for _ in range(2)
        )
        near[3, 4:] = near[-1] = near_captions[-1] = -1
        return Corpus(
            uid=np.array([f"{i:032x}" for i in range(images)], object),
            caption=[f"caption {i}" for i in range(images)],
            image_embedding=embedding,
            image_feature=rng.normal(size=(images, 3)).astype(np.float16),
            neighbours=near.astype(np.int32),
            caption_neighbours=near_captions.astype(np.int32),
            vocabulary=[f"concept{i}" for i in range(concepts)],
            concept_embedding=unit(rng.normal(size=(concepts, dimensions))),
            named=csr_array(named),
        )

    return make
