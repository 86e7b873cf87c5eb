"""What a command owes to the terminal: one line for a mistake, letters that it can show, an end
that is one.

Nothing heavy is imported here: --help comes at once.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable

MISTAKE, INTERRUPTED, CLOSED = 1, 130, 141
"""Exit codes; the last two are what a shell has for SIGINT and SIGPIPE."""


def guarded(run: Callable[[], None]) -> int:
    """Run a command and return its exit code: 0, or another after one line on stderr.

    A mistake of the user's, a file that cannot be read or written, a full disk and Ctrl-C are no
    tracebacks. A reader that went away (`| head -1`) wants no line at all.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # none, or a stand-in
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        run()
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        return ended(INTERRUPTED, "interrupted")
    except BrokenPipeError:
        return ended(CLOSED)
    except Exception as error:
        if not (line := mistake(error)):
            raise
        return ended(MISTAKE, f"error: {line}")


def mistake(error: Exception) -> str:
    """What to say of an error that is none of ours; empty for one that is."""
    from captionseg.records import UserError, one_line

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        where = (
            f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        )
        return f"{where}{error.strerror or error}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; ask for fewer labels, or take smaller pictures"
    # a file that is torn
    if type(error).__module__.partition(".")[0] in ("pyarrow", "safetensors"):
        return one_line(error)
    return ""


def ended(code: int, text: str = "") -> int:
    """The exit code, after a line on stderr; what stdout does not take goes nowhere."""
    if text:
        line = "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else " " for c in text)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # flushed again at the end, which would say so
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, sys.stdout.fileno())
            os.close(sink)
    return code


def number(
    option: str, *, low: float = -math.inf, high: float = math.inf
) -> Callable[[str], float]:
    """The type of an option that takes a number in a range, its ends too; never NaN.

    Args:
        option: as the user writes it, for the line that says what is wrong.
        low: the least.
        high: the largest.
    """

    def parsed(text: str) -> float:
        from captionseg.records import UserError, one_line

        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not low <= found <= high:
            wanted = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
            raise UserError(f"{option}: {one_line(text, 40)!r} is not a number{wanted}")
        return found

    return parsed
