"""validate: pairs, supervision and segments against their expectations; nothing is trained on data
that fail.

Index, features, regions and truth are read as well, as far as it takes to see that no row was lost
on the way.
"""

from __future__ import annotations

from pathlib import Path

from captionseg.expectations.validate import CoverageParams, Folders, validate
from captionseg.params import Params
from captionseg.storage.writing import write_json
from stages.kinds import In, Out

PARAMS = ("validate", "curate", "segment_text")
FAILED = Path(".work") / "validate-failed"


def main(  # noqa: PLR0913 - a stage has an argument for each of its paths
    params: Params,
    *,
    pairs: In,
    truth: In,
    index: In,
    features: In,
    regions: In,
    supervision: In,
    segments: In,
    curation: In,
    docs: Out,
    summary: Out,
    verdict: Out,
) -> dict[str, float]:
    """Check the data; Data Docs and a report say how, and the verdict alone is what training waits
    for.

    The report holds observed values. A stage that depended on it would run again whenever one of
    them moved.
    """
    folders = Folders(pairs, truth, index, features, regions, supervision, segments, curation)
    coverage_params = CoverageParams(
        params.value("curate.rules"),
        params.value("segment_text.split"),
        params.value("segment_text.curation"),
    )
    counts = validate(
        folders,
        params.validate,
        coverage_params=coverage_params,
        docs=docs,
        report=summary,
        failed=FAILED,
    )
    write_json({"success": True}, verdict)
    return counts
