"""How a command behaves on a terminal: one line per mistake, printable characters, exit codes, and
how much it says.

Nothing heavy is imported here, so that --help is fast.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator

import click

LOG = logging.getLogger("captionseg")
MISTAKE, INTERRUPTED, CLOSED = 1, 130, 141
"""Exit codes; the last two are a shell's codes for SIGINT and SIGPIPE."""


def guarded(run: Callable[[], None]) -> int:
    """Run a command and return its exit code: 0, or another after one line on stderr.

    User errors, unreadable or unwritable files, a full disk and Ctrl-C print no traceback. A closed
    pipe (`| head -1`) prints nothing.
    """
    reopen_closed()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # None, or replaced
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with keep_verbosity():
        try:
            run()
            if sys.stdout is not None:
                sys.stdout.flush()
            return 0
        except KeyboardInterrupt:
            return ended(INTERRUPTED, "interrupted")
        except BrokenPipeError:
            return ended(CLOSED)
        except click.exceptions.Exit as end:  # --help and --version
            return ended(end.exit_code)
        except Exception as error:
            if not (line := mistake(error)):
                raise
            code = error.exit_code if isinstance(error, click.ClickException) else MISTAKE
            return ended(code, f"error: {line}")


def reopen_closed() -> None:
    """Connect standard streams that the caller closed (`2>&-`) to the null device.

    Otherwise the file that is opened next gets the number of such a stream, and whatever a library
    writes to the stream goes into the file; and what is meant for stderr is printed to stdout.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # by processes that we start
        stream = open(os.devnull, "w" if number else "r", encoding="utf-8")  # noqa: SIM115
        setattr(sys, name, stream)


@contextlib.contextmanager
def keep_verbosity() -> Iterator[None]:
    """Restore afterwards how much is said."""
    level, handlers = LOG.level, [*LOG.handlers]
    try:
        yield
    finally:
        LOG.setLevel(level)
        LOG.handlers[:] = handlers


def set_verbosity(level: int) -> None:
    """Set how much is said on stderr: -1 is errors alone, 1 is more than warnings."""
    LOG.setLevel(logging.ERROR if level < 0 else logging.INFO)
    if level > 0 and not LOG.handlers:
        LOG.addHandler(logging.StreamHandler(sys.stderr))


def is_quiet() -> bool:
    """Whether errors alone are wanted."""
    return LOG.level >= logging.ERROR


def mistake(error: Exception) -> str:
    """Return one line for an error that is not a bug of ours; empty for one that is."""
    from captionseg.extras import explain_missing
    from captionseg.records import UserError, one_line

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return explain_missing(error)
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        return error.format_message() + (f" (see {context.command_path} -h)" if context else "")
    if isinstance(error, OSError):
        where = (
            f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        )
        return f"{where}{error.strerror or error}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; use fewer labels or smaller pictures"
    # a damaged file
    if type(error).__module__.partition(".")[0] in ("pyarrow", "safetensors"):
        return one_line(error)
    return ""


def ended(code: int, text: str = "") -> int:
    """Print a line to stderr, flush stdout and return the exit code; output that cannot be written
    is dropped.
    """
    if text:
        line = blank_controls(text)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # or the flush at exit would print an error
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, sys.stdout.fileno())
            os.close(sink)
    return code


def blank_controls(text: str) -> str:
    """Replace control characters, of which terminals take some for commands, by spaces."""
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else " " for c in text)


def shown(line: str) -> str:
    """Return a line of output with names of files in it: without control characters if a terminal
    shows it, otherwise as it is, for programs that open the files.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return blank_controls(line) if is_terminal else line


def number(
    option: str, *, low: float = -math.inf, high: float = math.inf
) -> Callable[[str], float]:
    """Return the type of an option: a number in a closed range; NaN is refused.

    Args:
        option: name of the option, for the error message.
        low: smallest value.
        high: largest value.
    """

    def parsed(text: str) -> float:
        from captionseg.records import UserError, one_line

        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            bounds = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
            raise UserError(f"{option}: {one_line(text, 40)!r} is not a number{bounds}")
        return value

    return parsed
