"""K-means of each image's concepts, all images of a chunk at once; CoCu §3.3, cluster-guided
sampling.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Int32


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
    if not count:
        return np.full(concept.shape, -1, np.int32)
    valid = concept >= 0
    points = embedding[np.maximum(concept, 0)] * valid[..., None]
    centres = farthest_first(points, valid, count)
    label = np.zeros(concept.shape, np.int32)
    for _ in range(iterations):
        new = np.einsum("nmd,nld->nml", points, centres).argmax(2).astype(np.int32)
        if np.array_equal(new, label) and _:
            break
        label = new
        member = (label[..., None] == np.arange(centres.shape[1])) & valid[..., None]
        sums = np.einsum("nml,nmd->nld", member.astype(np.float32), points)
        norm = np.linalg.norm(sums, axis=2, keepdims=True)
        # an empty cluster stays where it was
        centres = np.where(norm > 1e-9, sums / np.maximum(norm, 1e-9), centres)
    return np.where(valid, label, -1).astype(np.int32)


def farthest_first(
    points: Float[np.ndarray, "n M D"], valid: Bool[np.ndarray, "n M"], count: int
) -> Float[np.ndarray, "n L D"]:
    """Initial centres; see `cluster`."""
    rows = np.arange(len(points))
    chosen = [np.zeros(len(points), int)]
    nearest = np.einsum("nmd,nd->nm", points, points[rows, chosen[0]])
    for _ in range(1, min(count, points.shape[1])):
        chosen.append(np.where(valid, nearest, np.inf).argmin(1))
        nearest = np.maximum(nearest, np.einsum("nmd,nd->nm", points, points[rows, chosen[-1]]))
    return np.stack([points[rows, c] for c in chosen], axis=1)
