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

TRAINED = '''
"""The recipe words-plain of params.yaml on the toy pictures, from curation to labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from captionseg.checks.check import check
from captionseg.curation.marked import Inputs
from captionseg.curation.pipeline import Known, curate
from captionseg.curation.rules import CurateParams
from captionseg.encoders.text_space import TextSpace
from captionseg.inference.predictor import Predictor
from captionseg.modeling.plain import Plain, PlainConfig
from captionseg.modeling.weights import saved
from captionseg.params import Params
from captionseg.text.vocabulary import VocabularyParams
from captionseg.training.params import model_config
from captionseg.training.pretrain import pretrain


def test_words_plain(world, folders, params, tmp_path):
    written = Params("params.yaml")
    check(written)
    recipe = written.recipes["words-plain"]
    config = model_config(recipe, written.pretrain)
    assert type(config) is PlainConfig
    assert config.width == 7
    supervision = tmp_path / "supervision"
    curate(
        Inputs(world.pairs, world.index, world.features),
        TextSpace.load(world.encoder).encode,
        CurateParams(["nouns", "words"], vocabulary=VocabularyParams(minimum=2)),
        known=Known(),
        supervision=supervision,
        seed=0,
    )
    metrics = pretrain(
        recipe,
        replace(params, epochs=2, plain=PlainConfig(hidden=16)),
        replace(folders, supervision=supervision),
        name="words-plain",
        context={"prompts": "simple", "regions": {"maker": "toy", "toy": {"side": 8}}},
        out=tmp_path / "model",
        tell=lambda *_: None,
    )
    assert np.isfinite(metrics["loss"])
    model = saved.load(tmp_path / "model").model
    assert type(model) is Plain
    assert (model.config.hidden, model.config.width) == (16, 7)
    image = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    predictor = Predictor.load(tmp_path / "model", device="cpu")
    labels = predictor.segment(image, ["dog", "grass"])
    assert labels.shape == (40, 30)
    assert set(np.unique(labels)) <= {0, 1}
'''


@pytest.fixture
def copied(tmp_path) -> Path:
    """The code of the repository, to be changed. Compiled files come along, or whatever runs here
    would compile all of it again; those that another process is just writing do not.
    """
    without = shutil.ignore_patterns("*.pyc.*")
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
        (
            "from captionseg.modeling.use_config import",
            f"{imported}from captionseg.modeling.use_config import",
        ),
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


def list_changed(root: Path) -> set[str]:
    """Files of the library and the stages that the repository does not have, or has otherwise."""
    files = [p for name in ("captionseg", "stages") for p in (root / name).rglob("*.py")]
    names = {p.relative_to(root).as_posix() for p in files}
    same = {
        name
        for name in names
        if (ROOT / name).exists() and (ROOT / name).read_bytes() == (root / name).read_bytes()
    }
    return names - same


def test_a_new_model_and_rule_pass_their_batteries_train_and_label_a_picture(copied):
    """By the steps of CONTRIBUTING and nothing else: two new files, two dicts with the sections of
    params.yaml that choose from them, and a row of `recipes`.
    """
    add_rule(copied)
    add_model(copied)
    written = yaml.safe_load((copied / "params.yaml").read_text())
    written["curate"]["rules"].append("words")
    row = {"curation": "words", "archive": "words", "model": "plain", "settings": {"width": 7}}
    written["recipes"]["words-plain"] = row
    (copied / "params.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    assert list_changed(copied) == {
        "captionseg/curation/words.py",
        "captionseg/curation/rules.py",  # RULES, and a field of CurateParams
        "captionseg/modeling/plain.py",
        "captionseg/modeling/models.py",  # MODELS
        "captionseg/training/params.py",  # a field of PretrainParams
    }
    test = "tests/captionseg/training/test_words_plain.py"
    (copied / test).write_text(TRAINED)
    batteries = (
        "tests/captionseg/curation/test_rules.py",
        "tests/captionseg/modeling/test_models.py",
    )
    options = ("-rp", "-p", "no:cacheprovider", "-k", "words or plain")
    said = run(copied, "-m", "pytest", *options, test, *batteries)
    passed = [line.split()[1] for line in said.splitlines() if line.startswith("PASSED ")]
    assert f"{test}::test_words_plain" in passed
    for battery, name in zip(batteries, ("words", "plain")):
        assert [one for one in passed if one.startswith(battery) and name in one], said
