"""Progress of a download: the outcome of each shard, and one line for all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Outcome of a shard.

    Attributes:
        rows: number of source rows.
        received: size of the original image files, in bytes.
        reasons: reason, or "success" -> number of rows.
    """

    rows: int
    received: int
    reasons: Mapping[str, int]


@dataclass
class Meter:
    """Outcome of all shards so far, in the units of Progress; `start` is in seconds."""

    start: float = field(default_factory=time.monotonic)
    rows: int = 0
    received: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, progress: Progress) -> None:
        """Add a shard."""
        self.rows += progress.rows
        self.received += progress.received
        self.reasons.update(progress.reasons)

    def __str__(self) -> str:
        """`12.3 MB/s, success 91.0%, timed_out 5.0%`; the share of each reason, the largest
        first."""
        seconds = max(time.monotonic() - self.start, 1e-9)
        shares = [
            f"{reason} {100 * count / max(1, self.rows):.1f}%"
            for reason, count in self.reasons.most_common()
        ]
        return ", ".join([f"{self.received / 1e6 / seconds:.1f} MB/s", *shares])
