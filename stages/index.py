"""index: features, embeddings, indexes and neighbours of all pairs.

Reads data/pairs and data/regions; writes data/features (frozen features by shard, also pooled over
regions, and the encoder) and data/index (clip-retrieval's layout). Features that lie there already
are taken over for shards with the same pictures and regions, if the encoder is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from captionseg import indexing
from captionseg.datasets.pair_tables import read_pairs
from captionseg.params import Params
from stages.kinds import In, Out, Renewed
from stages.work_folder import LENT

PARAMS = ("seed", "index")


def main(
    params: Params,
    *,
    pairs: In,
    regions: In,
    features: Renewed,
    index: Out,
    earlier: Mapping[str, Path],
) -> dict[str, float]:
    """Embed and index the pairs."""
    return indexing.build(
        pairs,
        read_pairs(pairs, indexing.COLUMNS),
        params.index,
        features=features,
        index=index,
        regions=regions,
        seed=params.seed,
        runtime=params.runtime,
        earlier=earlier["features"],
        lent=LENT,
    )
