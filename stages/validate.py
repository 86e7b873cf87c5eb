"""validate: pairs, supervision and segments against their expectations; nothing is trained on data that fail."""

from __future__ import annotations

from pathlib import Path

from captionseg.expectations.validate import validate
from captionseg.params import Params
from captionseg.storage import write_json
from stages.kinds import In, Out

PARAMS = ("validate",)
FAILED = Path(".work") / "validate-failed"


def main(params: Params, *, pairs: In, supervision: In, segments: In, docs: Out, summary: Out,
         verdict: Out) -> dict[str, float]:  # fmt: skip
    """Check the data; Data Docs and a report say how, and the verdict alone is what training waits for.

    The report holds observed values. A stage that depended on it would run again whenever one of them moved.
    """
    counts = validate(
        pairs, params.validate, supervision_folder=supervision, segments_folder=segments, docs=docs, report=summary,
        failed=FAILED,
    )  # fmt: skip
    write_json({"success": True}, verdict)
    return counts
