"""All samples of a source."""

from __future__ import annotations

from captionseg.sources.listing import ListedSource
from captionseg.sources.reasons import REASONS
from captionseg.sources.source import Sample


def take(source: ListedSource) -> list[Sample]:
    """All samples, by split, in order."""
    source.prepare()
    counts = source.splits()
    return [s for split, n in counts.items() for s in source.samples(split, range(n), seed=0)]


def reasons(source: ListedSource) -> dict[str, str | None]:
    """URL of each sample -> its reason."""
    return {sample.url: sample.reason for sample in take(source)}


def outcomes(source: ListedSource) -> dict[str, str | None]:
    """Source row -> reason; no two rows are called alike."""
    samples = take(source)
    assert len({sample.source_row for sample in samples}) == len(samples)
    assert {sample.reason for sample in samples} - {None} <= REASONS.keys()
    return {sample.source_row: sample.reason for sample in samples}
