"""A new member of a family is what CONTRIBUTING.md says and nothing else, and only stages that read
the family run again for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.deps import Repository, is_covered, list_code_deps

ROOT = Path(__file__).parents[2]

MODEL = """
from __future__ import annotations

from dataclasses import dataclass

from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig


@dataclass(frozen=True)
class PlainConfig(SegmentMilConfig):
    pass


class Plain(SegmentMil):
    pass
"""


@pytest.fixture
def copied(tmp_path) -> Path:
    """The code of the repository, to be changed."""
    without = shutil.ignore_patterns("__pycache__")
    for name in ("captionseg", "stages", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=without)
    for name in ("params.yaml", "dvc.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def edit(path: Path, *changes: tuple[str, str]) -> str:
    """Replace some texts, each of which stands in the file once; returns its path from the root."""
    text = path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{path.name}: {old}"
        text = text.replace(old, new)
    path.write_text(text)
    return path.name


def add_rule(root: Path) -> list[str]:
    """The rule `words`; returns the files that were written."""
    folder = root / "captionseg" / "curation"
    nouns = (folder / "nouns.py").read_text()
    words = nouns.replace("class Nouns", "class Words").replace('"nouns"', '"words"')
    (folder / "words.py").write_text(words)
    edit(
        folder / "rules.py",
        ("import Rule\n", "import Rule\nfrom captionseg.curation.words import Words\n"),
        ("RULES = {\n", 'RULES = {\n    "words": Words,\n'),
        ("    nouns: Nouns", "    words: Words = field(default_factory=Words)\n    nouns: Nouns"),
    )
    return ["captionseg/curation/words.py", "captionseg/curation/rules.py"]


def add_model(root: Path) -> list[str]:
    """The model `plain`; returns the files that were written."""
    folder = root / "captionseg" / "modeling"
    (folder / "plain.py").write_text(MODEL)
    imported = "from captionseg.modeling.plain import Plain, PlainConfig\n"
    edit(
        folder / "models.py",
        ("MODELS = {\n", f'{imported}\nMODELS = {{\n    "plain": (PlainConfig, Plain),\n'),
    )
    added = "    plain: PlainConfig = field(default_factory=PlainConfig)"
    edit(
        root / "captionseg" / "training" / "params.py",
        ("from captionseg.modeling.use import", f"{imported}from captionseg.modeling.use import"),
        ("    use: UseConfig", f"{added}\n    use: UseConfig"),
    )
    names = ("modeling/plain.py", "modeling/models.py", "training/params.py")
    return [f"captionseg/{name}" for name in names]


def stale(root: Path, files: list[str]) -> set[str]:
    """Stages that depend on one of some files."""
    deps = list_code_deps(Repository(root))
    return {stage for stage, paths in deps.items() if any(is_covered(f, paths) for f in files)}


def test_a_rule_makes_no_stage_stale_but_those_that_read_rules(copied):
    """`report` shows what each rule found, in the order of RULES."""
    assert stale(copied, add_rule(copied)) == {"curate", "report"}


def test_a_model_makes_no_stage_stale_but_those_that_use_models(copied):
    assert stale(copied, add_model(copied)) == {"pretrain", "evaluate", "report"}


def test_dvc_yaml_needs_no_change_for_a_new_rule(copied):
    before = list_code_deps(Repository(copied))
    add_rule(copied)
    assert list_code_deps(Repository(copied)) == before


def run(root: Path, *arguments: str) -> str:
    """What Python says in the copy."""
    environ = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("add", "battery", "name"),
    [
        (add_rule, "tests/captionseg/curation/test_rules.py", "words"),
        (add_model, "tests/captionseg/modeling/test_models.py", "plain"),
    ],
)
def test_the_battery_finds_a_new_member_and_it_passes(copied, add, battery, name):
    add(copied)
    said = run(copied, "-m", "pytest", "-p", "no:cacheprovider", battery, "-k", name)
    assert "[100%]" in said, "no test of it was found"


def test_a_recipe_can_name_a_new_model_and_rule(copied):
    add_rule(copied)
    add_model(copied)
    written = yaml.safe_load((copied / "params.yaml").read_text())
    written["curate"]["rules"].append("words")
    row = {"curation": "words", "archive": "words", "model": "plain", "settings": {"width": 7}}
    written["recipes"]["words-plain"] = row
    (copied / "params.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    code = (
        "from captionseg.checks import check\n"
        "from captionseg.params import Params\n"
        "from captionseg.training.params import model_config\n"
        "params = Params('params.yaml')\n"
        "check(params)\n"
        "print(model_config(params.recipes['words-plain'], params.pretrain))\n"
    )
    said = run(copied, "-W", "ignore", "-c", code)
    assert "PlainConfig(" in said
    assert "width=7" in said
