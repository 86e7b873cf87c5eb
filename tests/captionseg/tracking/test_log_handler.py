"""Lines of log and the tracker's warnings stand on lines of their own, whatever bar is being
drawn."""

import contextlib
import logging
import sys

from tqdm import tqdm

from captionseg.tracking import log_handler
from captionseg.tracking.tracker import start


def screen(text):
    """What a terminal shows of it: a carriage return goes back to the beginning of the line, and
    writes over it.
    """
    shown = []
    for line in text.split("\n"):
        row = ""
        for part in line.split("\r"):
            row = part + row[len(part) :]
        shown.append(row.rstrip())
    return shown


@contextlib.contextmanager
def drawn():
    with tqdm(total=10, desc="features", file=sys.stderr, mininterval=0, ncols=60) as bar:
        bar.update(4)
        yield bar


def test_a_line_of_log_does_not_hang_on_the_bar(capsys):
    log = logging.getLogger("captionseg.test_lines")
    handler = log_handler.Handler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    log.addHandler(handler)
    with drawn() as bar:
        log.warning("shard %s is done", "00001")
        bar.update(1)
        bar.refresh()
        shown = screen(capsys.readouterr().err)
    log.removeHandler(handler)
    assert shown[0] == "WARNING captionseg.test_lines: shard 00001 is done"
    assert shown[1].startswith("features:  50%")
    assert len(shown) == 2


def test_what_the_writer_says_does_not_hang_on_the_bar(tmp_path, monkeypatch, capsys):
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/sh\necho 'warning: tracking: database is locked' >&2\nexec cat > /dev/null\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.delenv("CAPTIONSEG_TRACKING", raising=False)
    with drawn():
        with start("index", None, root=tmp_path) as tracker:
            tracker.metrics({"a": 1.0})
        shown = screen(capsys.readouterr().err)
    assert shown[0] == "warning: tracking: database is locked"
    assert shown[1].startswith("features:  40%")
