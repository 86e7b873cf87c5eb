"""validate: pairs, supervision and segments against their expectations; nothing is trained on data that fail."""

from __future__ import annotations

from pathlib import Path

from captionseg.expectations.validate import validate
from captionseg.params import Params
from stages.run import In, Out

PARAMS = ("validate",)
FAILED = Path(".work") / "validate-failed"


def main(params: Params, *, pairs: In, supervision: In, segments: In, docs: Out, summary: Out) -> dict[str, float]:
    """Check the data; Data Docs and a report say how."""
    return validate(
        pairs, params.validate, supervision_folder=supervision, segments_folder=segments, docs=docs, report=summary,
        failed=FAILED,
    )  # fmt: skip
