"""segment_text: segments of the training images, each with all texts that name it.

Reads data/pairs, the encoder and dense features of data/features, data/regions and data/supervision; writes
data/segments and reports/segments.json.
"""

from __future__ import annotations

from captionseg.encoders import TextSpace
from captionseg.params import Params
from captionseg.segment_text.pipeline import segment
from captionseg.storage import write_json
from stages.kinds import In, Out

PARAMS = ("seed", "segment_text")


def main(
    params: Params, *, pairs: In, features: In, regions: In, supervision: In, segments: Out, measures: Out
) -> dict[str, float]:
    """Make segments with texts out of captions and curated concepts."""
    result = segment(
        pairs, params.segment_text, space=TextSpace.load(features / "encoder"), supervision=supervision,
        features=features, regions=regions, segments=segments, seed=params.seed,
    )  # fmt: skip
    write_json(result, measures)
    return result
