"""Deps of code are what a stage imports, and writing them changes no other line of dvc.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.deps import Repository, find_needed, list_deps, list_sections, rewrite

TEXT = """# head
vars:
- run: python
stages:
  one:
    cmd: ${run} one   # as it is
    deps:
    - data/pairs
    - captionseg/old
    # the next one is of two seeds
    - data/${item.curation}
    - stages/one.py
    outs:
    - data/x
  two:
    foreach: ${recipes}
    do:
      cmd: ${run} two
      deps:
      - models/${key}
"""
WRITTEN = """# head
vars:
- run: python
stages:
  one:
    cmd: ${run} one   # as it is
    deps:
    - data/pairs
    # the next one is of two seeds
    - data/${item.curation}
    - captionseg/new
    - stages/one.py
    outs:
    - data/x
  two:
    foreach: ${recipes}
    do:
      cmd: ${run} two
      deps:
      - models/${key}
      - stages/two.py
"""
FILES = {
    "captionseg/__init__.py": "version = 1",
    "captionseg/params.py": """
class Params:
    def first(self):
        from captionseg.curation.rules import RULES
    def second(self):
        return self.first
    def value(self, name): ...
""",
    "captionseg/curation/__init__.py": '"""Rules."""',
    "captionseg/curation/rules.py": "from captionseg.curation import a",
    "captionseg/curation/a.py": "words = 'a.txt'",
    "captionseg/curation/a.txt": "",
    "captionseg/curation/sampling.py": "def draw(): ...",
    "captionseg/text/__init__.py": "",
    "captionseg/text/lemmas.py": "names = f'{kind}.txt'",
    "captionseg/text/nouns.txt": "",
    "captionseg/heavy.py": "",
    "stages/whole.py": """
from captionseg.params import Params
def main(params): params.second
""",
    "stages/light.py": """
from typing import TYPE_CHECKING
from captionseg.curation.sampling import draw
from captionseg.params import Params
if TYPE_CHECKING:
    import captionseg.heavy
def main(params):
    params.value("curate.rules")
    from captionseg.text import lemmas
""",
}


@pytest.fixture
def small(tmp_path) -> Repository:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Repository(tmp_path)


def test_only_deps_of_code_change():
    deps = {"one": ["captionseg/new", "stages/one.py"], "two": ["stages/two.py"]}
    assert rewrite(TEXT, deps) == WRITTEN == rewrite(WRITTEN, deps)


def test_the_dvc_yaml_that_there_is_keeps_every_other_line():
    text = (Path(__file__).parents[2] / "dvc.yaml").read_text()
    left = [line for line in text.splitlines() if not line.lstrip().startswith("- captionseg/")]
    found = rewrite(text, {"download": [], "pretrain": []}).splitlines()
    theirs = {"    - stages/download.py", "      - stages/pretrain.py"}
    stages = [line for line in left if line not in theirs]
    assert [line for line in found if not line.lstrip().startswith("- captionseg/")] == stages


def test_a_section_is_an_input_of_stages_that_build_it(small):
    assert list_sections(small, "whole") == {"second", "first"}
    found = find_needed(small, "whole")
    assert {"captionseg/curation/rules.py", "captionseg/curation/a.py"} <= found
    assert "captionseg/curation/a.txt" in found
    assert list_deps(small, found) == ["captionseg/curation", "stages/whole.py"]


def test_what_is_no_input(small):
    """Imports for types alone, members of a family that is not read, docstrings."""
    found = find_needed(small, "light")
    assert found == {
        "captionseg/curation/sampling.py",
        "captionseg/text/lemmas.py",
        "captionseg/text/nouns.txt",
        "stages/light.py",
    }
    assert list_deps(small, found) == [
        "captionseg/curation/sampling.py",
        "captionseg/text",
        "stages/light.py",
    ]
