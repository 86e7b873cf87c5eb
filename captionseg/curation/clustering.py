"""K-means of each image's concepts, all images of a chunk at once; CoCu §3.3, cluster-guided
sampling.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32


def cluster(
    concept: Int[np.ndarray, "n M"],
    embedding: Float[np.ndarray, "C D"],
    count: int,
    *,
    iterations: int = 10,
) -> Int32[np.ndarray, "n M"]:
    """Partition every archive into `count` semantic clusters by the concepts' text embeddings.

    Spherical k-means. The first centre is the best-ranked concept, each further one the concept
    farthest from all centres so far; no randomness. An archive of no more than `count` concepts
    gets a cluster for each.

    Args:
        concept: indices into `embedding`, best first, -1 pads (at the end of a row).
        embedding: L2-normalised.
        count: L; 0 does not cluster.
        iterations: at most so many updates of the centres.

    Returns:
        Cluster numbers below `count`, -1 where concept is -1, and throughout when
        `count` is 0.
    """
    if not count or not concept.shape[1]:
        return np.full(concept.shape, -1, np.int32)
    valid = concept >= 0
    points = embedding[np.maximum(concept, 0)] * valid[..., None]
    # Centres are sums of points, so products of points are all that is needed of them.
    products = points @ points.transpose(0, 2, 1)
    centres = farthest_first(products, valid, count)
    label = np.zeros(concept.shape, np.int32)
    for step in range(iterations):
        new = (products @ centres).argmax(2).astype(np.int32)
        if step and np.array_equal(new, label):
            break
        label = new
        member = ((label[..., None] == np.arange(centres.shape[2])) & valid[..., None]).astype(
            np.float32
        )
        norm = np.sqrt(np.maximum((member * (products @ member)).sum(1, keepdims=True), 0))
        # an empty cluster stays where it was
        centres = np.where(norm > 1e-9, member / np.maximum(norm, 1e-9), centres)
    return np.where(valid, label, -1).astype(np.int32)


def farthest_first(
    products: Float[np.ndarray, "n M M"], valid: Bool[np.ndarray, "n M"], count: int
) -> Float32[np.ndarray, "n M L"]:
    """Initial centres, as multiples of the points whose products are given; see `cluster`."""
    rows = np.arange(len(products))
    chosen = [np.zeros(len(products), int)]
    nearest = products[rows, :, chosen[0]]
    for _ in range(1, min(count, products.shape[1])):
        chosen.append(np.where(valid, nearest, np.inf).argmin(1))
        nearest = np.maximum(nearest, products[rows, :, chosen[-1]])
    return np.eye(products.shape[1], dtype=np.float32)[np.stack(chosen, axis=1)].transpose(0, 2, 1)
