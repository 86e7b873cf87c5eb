"""Writes log lines without breaking progress bars: the bars are redrawn below the line."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm


def write(line: str) -> None:
    """Write a line to standard error, above the progress bars."""
    tqdm.write(line, file=sys.stderr)


class Handler(logging.Handler):
    """A logging handler that writes above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            write(self.format(record))
        except Exception:  # as logging's own handlers do
            self.handleError(record)
