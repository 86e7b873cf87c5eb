"""index: features, embeddings, indexes and neighbours of all pairs.

Reads data/pairs; writes data/features (frozen features by shard, the encoder) and data/index
(clip-retrieval's layout).
"""

from __future__ import annotations

from captionseg import indexing
from captionseg.datasets.pair_tables import read_pairs
from captionseg.params import Params
from stages.kinds import In, Out

PARAMS = ("seed", "index")


def main(params: Params, *, pairs: In, features: Out, index: Out) -> dict[str, float]:
    """Embed and index the pairs."""
    return indexing.build(
        pairs,
        read_pairs(pairs),
        params.index,
        features=features,
        index=index,
        seed=params.seed,
        runtime=params.runtime,
    )
