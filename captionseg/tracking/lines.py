"""Lines of log beside progress bars: the bars make room for the line and are drawn again.

Else a line stands where the bar ends, and the next bar in the line.
"""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm


def write(line: str) -> None:
    """A line on standard error, below which the bars go on."""
    tqdm.write(line, file=sys.stderr)


class Handler(logging.Handler):
    """A handler of logging that does so."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            write(self.format(record))
        except Exception:  # as every handler of logging has it
            self.handleError(record)
