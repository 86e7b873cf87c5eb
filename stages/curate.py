"""curate: the concepts of each training picture, by every rule of the params.

Reads data/index, data/features and, only for measuring, data/truth; writes data/supervision and
reports/curation.json.
"""

from __future__ import annotations

from captionseg.curation.pipeline import curate
from captionseg.datasets.shards import read_truth
from captionseg.encoders.text_space import TextSpace
from captionseg.params import Params
from captionseg.storage.writing import write_json
from stages.kinds import In, Out

PARAMS = ("seed", "curate")


def main(
    params: Params, *, index: In, features: In, truth: In, supervision: Out, measures: Out
) -> dict[str, float]:
    """Curate, and measure the result against the truth."""
    known = read_truth(truth)
    true = {
        uid: set(names)
        for uid, names in zip(known["uid"].to_pylist(), known["concepts"].to_pylist(), strict=True)
    }
    encode = TextSpace.load(features / "encoder").encode
    result = curate(
        index,
        features,
        encode,
        params.curate,
        true=true,
        supervision=supervision,
        seed=params.seed,
        runtime=params.runtime,
    )
    write_json(result, measures)
    return {f"{rule}.{name}": value for rule, row in result.items() for name, value in row.items()}
