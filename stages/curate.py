"""curate: the concepts of each training picture, by every rule of the params.

Reads data/index, data/features, the columns of data/pairs that markers look at and, for measuring
alone, its held-out captions and data/truth; writes data/supervision and reports/curation.json.
"""

from __future__ import annotations

from captionseg.curation.marked import Inputs
from captionseg.curation.pipeline import Known, curate
from captionseg.datasets.pair_tables import list_held_out, read_truth
from captionseg.encoders.text_space import TextSpace
from captionseg.params import Params
from captionseg.storage.nested import flatten
from captionseg.storage.writing import write_json
from stages.kinds import In, Out

PARAMS = ("seed", "curate")


def main(
    params: Params,
    *,
    pairs: In,
    index: In,
    features: In,
    truth: In,
    supervision: Out,
    measures: Out,
) -> dict[str, float]:
    """Curate, and measure by masks and by held-out captions."""
    known = read_truth(truth)
    true = {
        uid: set(names)
        for uid, names in zip(known["uid"].to_pylist(), known["concepts"].to_pylist(), strict=True)
    }
    inputs = Inputs(pairs, index, features)
    encode = TextSpace.load(features / "encoder").encode
    result = curate(
        inputs,
        encode,
        params.curate,
        known=Known(true, list_held_out(inputs.pair_table)),
        supervision=supervision,
        seed=params.seed,
        runtime=params.runtime,
    )
    write_json(result, measures)
    return flatten(result)
