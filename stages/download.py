"""download: captioned pictures as img2dataset shards, and their truth, if known, in another folder.

Writes data/pairs and data/truth; with download.retry what lies there is taken over in part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from captionseg.datasets.download import write_shards
from captionseg.params import Params
from stages.kinds import Renewed

PARAMS = ("seed", "download")


def main(
    params: Params, *, pairs: Renewed, truth: Renewed, earlier: Mapping[str, Path]
) -> dict[str, float]:
    """Make or fetch the pairs."""
    p = params.download
    return write_shards(
        p.get_source(),
        pairs,
        truth,
        shard_size=p.shard_size,
        min_success=p.min_success,
        seed=params.seed,
        runtime=params.runtime,
        earlier=(earlier["pairs"], earlier["truth"]) if p.retry == "failed" else None,
    )
