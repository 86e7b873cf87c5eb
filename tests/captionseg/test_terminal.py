"""Mistakes, closed pipes, letters that stdout has not, full disks and Ctrl-C: one line at most,
never a traceback.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from captionseg.records import UserError
from captionseg.terminal import guarded, number, shown

ROOT = Path(__file__).parents[2]
SAY = "import sys\nfrom captionseg.terminal import guarded\nsys.exit(guarded(lambda: {}))\n"


def run(body: str, *, stdout=subprocess.PIPE, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A command in a process of its own, for which `body` is what it does."""
    return subprocess.run(
        [sys.executable, "-c", SAY.format(body)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        check=False,
    )


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", rb"caf\xe9 \u732b"), ("cp1252", b"caf\xe9 \\u732b"), ("utf-8", "café 猫".encode())],
)
def test_labels_that_stdout_has_no_letters_for(encoding, expected):
    done = run(r"print('caf\xe9 \u732b')", PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, expected, b"")


def test_names_that_are_no_text():
    done = run(r"print('a\udcff.jpg')", PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, rb"a\udcff.jpg", b"")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_name_of_a_file_gives_a_terminal_no_command(monkeypatch, terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    name = "a\x1b[2J\nb\x9b é\udcff.jpg"
    assert shown(name) == ("a [2J b  é\udcff.jpg" if terminal else name)


def test_a_reader_that_went_away_is_no_traceback():
    read, write = os.pipe()
    os.close(read)
    done = run("print('x' * 100000)", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "wb") as full:
        done = run("print('x')", stdout=full)
    assert (done.returncode, done.stderr) == (1, b"error: No space left on device\n")


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_streams_that_the_caller_closed(tmp_path, stream):
    """What goes to stderr is not printed to stdout, and a file that is opened gets no number of a
    stream, into which libraries write their messages."""
    body = (
        "[print('result'), print('remark', file=sys.stderr), sys.stdin.read(), "
        "print(open('f', 'w').fileno() > 2), __import__('os').system('echo noise >&2')]"
    )
    code = SAY.format(body)
    number = ("stdin", "stdout", "stderr").index(stream)
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {number}<&-', sys.executable, code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (b"" if stream == "stdout" else b"result\nTrue\n")
    assert done.stderr == (b"" if stream == "stderr" else b"remark\nnoise\n")
    assert (tmp_path / "f").read_bytes() == b""


def test_ctrl_c_is_130():
    done = run("__import__('os').kill(__import__('os').getpid(), __import__('signal').SIGINT)")
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, b"interrupted\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("x.jpg: no\nsuch file"), "error: x.jpg: no such file"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out.png"),
            "error: out.png: No space left on device",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "out.png"),
            "error: out.png: Permission denied",
        ),
        (OSError("odd"), "error: odd"),
        (pa.ArrowInvalid("Parquet magic bytes\nnot found"), "error: Parquet magic bytes not found"),
        (MemoryError(), "error: out of memory; use fewer labels or smaller pictures"),
    ],
)
def test_what_the_machine_refuses_is_one_line(capsys, error, line):
    def fail() -> None:
        raise error

    assert guarded(fail) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{line}\n")


def test_a_mistake_of_ours_is_not_hidden():
    def fail() -> None:
        raise AssertionError

    with pytest.raises(AssertionError):
        guarded(fail)


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "1.01", "-2", "x", "", "0,5"])
def test_numbers_out_of_range(text):
    with pytest.raises(UserError, match=r"^--background: .* is not a number from -1 to 1$"):
        number("--background", low=-1, high=1)(text)


def test_numbers_in_range():
    parsed = number("--background", low=-1, high=1)
    assert [parsed(text) for text in ("-1", "1", "0.5", "1e-3")] == [-1, 1, 0.5, 0.001]
    assert number("--min-score")("-inf") == float("-inf")
    with pytest.raises(UserError, match=r"--min-score: 'nan' is not a number$"):
        number("--min-score")("nan")
