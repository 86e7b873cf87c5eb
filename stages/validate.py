"""validate: checks the expectations of pairs, supervision and segments; a failure stops the run.

Index, features, regions and truth are only read to check that no row was lost.
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
    """Validate the data; write Data Docs, a report and the verdict, on which training depends.

    Training does not depend on the report: it contains observed values, and training would run
    again whenever one of them changes.
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
