"""Imports without the collector, and without packages that a library can do without."""

import gc
import importlib
import subprocess
import sys

import pytest

from captionseg.runtime.start_up import collect_nothing, hide_packages


def test_nothing_is_collected_inside_and_everything_as_before_outside():
    assert gc.isenabled()
    with collect_nothing():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collect_nothing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_only_what_the_first_imports_leave_is_never_looked_at_again():
    code = """
import gc
from captionseg.runtime.start_up import collect_nothing
assert not gc.get_freeze_count()
with collect_nothing():
    import json.tool
frozen = gc.get_freeze_count()
assert frozen
kept = [[] for _ in range(100)]
with collect_nothing():
    pass
assert gc.get_freeze_count() <= frozen
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_hidden_packages_seem_absent_inside_and_can_be_imported_afterwards(tmp_path, monkeypatch):
    (tmp_path / "rarely_imported.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    loaded = sys.modules["json"]
    with hide_packages("rarely_imported", "json"):
        with pytest.raises(ImportError):
            importlib.import_module("rarely_imported")
        assert importlib.import_module("json") is loaded
    assert sys.modules["json"] is loaded
    assert "rarely_imported" not in sys.modules
    assert importlib.import_module("rarely_imported").value == 1
    del sys.modules["rarely_imported"]
