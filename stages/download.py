"""download: captioned pictures as img2dataset shards, and their truth, if known, in another folder.

Writes data/pairs and data/truth.
"""

from __future__ import annotations

from captionseg.datasets.shards import write_shards
from captionseg.params import Params
from stages.kinds import Out

PARAMS = ("seed", "download")


def main(params: Params, *, pairs: Out, truth: Out) -> dict[str, float]:
    """Generate or download the pairs."""
    p = params.download
    return write_shards(
        p.chosen(),
        pairs,
        truth,
        shard_size=p.shard_size,
        min_success=p.min_success,
        seed=params.seed,
        runtime=params.runtime,
    )
