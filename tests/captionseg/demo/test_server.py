"""The command `captionseg demo`: one line for each mistake."""

from __future__ import annotations

import socket
import sys

import pytest

from captionseg import cli


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nowhere"], "--model: nowhere: no model"),
        (["--port", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["--port", "TAKEN"], "cannot be used (Address already in use); choose another, or 0"),
    ],
)
def test_mistakes_of_the_command_are_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["demo", *(port if word == "TAKEN" else word for word in words)]) > 0
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert message in err


def test_without_the_extra_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("captionseg.demo.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nicegui", None)
    assert cli.main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == (
        "",
        [
            "error: nicegui is not installed, and inference does without it; for this, run "
            "`pip install 'captionseg[demo]'`"
        ],
    )
