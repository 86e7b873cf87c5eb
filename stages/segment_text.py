"""segment_text: segments of the training pictures, each with all texts that name it.

Reads data/pairs, data/captions, the encoder and dense features of data/features, data/regions and
data/supervision; writes data/segments and reports/segments.json.
"""

from __future__ import annotations

import functools

from captionseg.encoders.text_space import TextSpace
from captionseg.feature_reuse import find_lent
from captionseg.params import Params
from captionseg.segment_text.pipeline import segment
from captionseg.segment_text.stage_inputs import Inputs
from captionseg.storage.writing import write_json
from stages.kinds import In, Out
from stages.work_folder import LENT

PARAMS = ("seed", "segment_text")


def main(
    params: Params,
    *,
    pairs: In,
    captions: In,
    features: In,
    regions: In,
    supervision: In,
    segments: Out,
    measures: Out,
) -> dict[str, float]:
    """Make segments with texts from captions and curated concepts."""
    inputs = Inputs(
        pairs,
        captions=captions,
        supervision=supervision,
        features=features,
        regions=regions,
        lent=find_lent(LENT, features),
    )
    space = functools.partial(TextSpace.load, features / "encoder")
    result = segment(
        inputs,
        params.segment_text,
        space=space,
        segments=segments,
        seed=params.seed,
        runtime=params.runtime,
    )
    write_json(result, measures)
    return result
