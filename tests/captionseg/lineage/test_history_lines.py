"""Lines that do nothing to a terminal."""

from __future__ import annotations

import subprocess
import sys

from tests.captionseg.lineage.conftest import HOSTILE, history, trace


def test_no_character_acts_on_the_terminal(run, capsys):
    assert run.train[3]["caption"] == HOSTILE
    code, lines, _ = trace(capsys, run.train[3]["uid"])
    assert code == 0
    assert all(line.isprintable() for line in lines)
    assert (
        'caption: "\u732b \U0001f408 caf\u00e9 '
        '\\x1b[31m\\u202egod\\u2066\\x00\\x9b2J\\nnext"' in lines
    )
    assert history(capsys, run.train[3]["uid"])["pair"]["caption"] == HOSTILE


def test_an_ascii_terminal_hears_everything_too(run):
    done = subprocess.run(
        [sys.executable, "-m", "captionseg", "trace", run.train[3]["uid"]],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path), "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    assert b'caption: "\\u732b \\U0001f408 caf\\xe9' in done.stdout
