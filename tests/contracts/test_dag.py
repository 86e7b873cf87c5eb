"""dvc.yaml, params.yaml and stages/ say the same: DVC sees only what is declared."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from captionseg.params import Params
from stages.deps import find_needed, is_covered, list_code_deps, list_sections, rewrite
from stages.run import STAGES

ROOT = Path(__file__).parents[2]
FILE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
DAG = {name: stage.get("do", stage) for name, stage in FILE["stages"].items()}
WRITTEN = ("Out", "Persistent", "Renewed")


def stage_of(name: str) -> tuple[set[str], dict[str, str]]:
    """PARAMS of a stage and its main's keyword arguments with their annotations; read, not
    imported.
    """
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    params, main = set(), None
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PARAMS":
            params = set(ast.literal_eval(node.value))
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            main = node
    assert main is not None, f"stages/{name}.py has no main"
    kinds = {
        a.arg: ast.unparse(a.annotation)
        for a in main.args.kwonlyargs
        if a.annotation and a.arg not in ("tracker", "earlier")
    }
    assert set(kinds.values()) <= {"In", "Out", "Persistent", "Renewed", "Note", "str"}
    return params, kinds


def listed(stage: str, *kinds: str) -> list[str]:
    """Paths of some of a stage's lists, without their options."""
    entries = [e for kind in kinds for e in DAG[stage].get(kind, [])]
    return [e if isinstance(e, str) else next(iter(e)) for e in entries]


def test_the_dag_has_every_stage_and_no_other():
    assert set(DAG) == set(STAGES)
    assert all((ROOT / "stages" / f"{name}.py").is_file() for name in STAGES)


def test_deps_of_code_are_what_stages_import(repository):
    """Without a dep old outputs stay; one that nothing imports runs a stage for nothing."""
    text = (ROOT / "dvc.yaml").read_text()
    assert rewrite(text, list_code_deps(repository)) == text, "dvc.yaml: run `make deps`"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_every_file_that_a_stage_imports(repository, stage):
    missing = {
        f for f in find_needed(repository, stage) if not is_covered(f, listed(stage, "deps"))
    }
    assert not missing


def test_sections_of_which_a_stage_reads_one_value_are_not_built(repository):
    """Such a value stands in params.yaml: its default is of the section, which the stage does not
    depend on."""
    written = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in STAGES:
        for name in stage_of(stage)[0]:
            section, _, key = name.partition(".")
            if key and section not in ("recipes", "runtime"):
                assert section not in list_sections(repository, stage), f"{stage}: {name}"
                assert key in written[section], f"params.yaml: {name} is read by {stage}"


@pytest.mark.parametrize("stage", ["segment_text", "pretrain", "evaluate"])
def test_a_new_rule_of_curation_trains_nothing_again(stage):
    """Whatever reads supervision takes it as files: how they came about is curate's own."""
    curation = [dep for dep in listed(stage, "deps") if dep.startswith("captionseg/curation")]
    assert not curation, f"a new rule, or a change of one, would run {stage} again for all recipes"


@pytest.mark.parametrize("stage", STAGES)
def test_params_of_a_stage_are_those_of_the_dag(stage):
    declared = {name.replace("${key}", "{recipe}") for name in DAG[stage].get("params", [])}
    # whose names it checks as any stage does, see dvc.yaml
    declared -= {"recipes"} if stage == "validate" else set()
    assert declared == stage_of(stage)[0]


def test_every_section_of_the_params_has_a_reader():
    read = {name.split(".")[0] for stage in STAGES for name in stage_of(stage)[0]}
    read |= {"regression"}  # what the gate alone reads: no dep
    written = yaml.safe_load((ROOT / "params.yaml").read_text()).keys()
    assert set(Params.SECTIONS) == read == set(written)


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_gives_what_main_asks_for(stage):
    words = shlex.split(DAG[stage]["cmd"])
    assert words[:2] == ["${run}", stage]
    assert [word for word in words if "${" in word] == ["${run}"], (
        "no name or value of params.yaml reaches a shell"
    )
    given = dict(
        zip(words[2::2], (word.replace("@recipe", "${key}") for word in words[3::2]), strict=True)
    )
    kinds = stage_of(stage)[1]
    assert set(given) == {f"--{k.replace('_', '-')}" for k in kinds}
    deps, outs = listed(stage, "deps"), listed(stage, "outs", "metrics", "plots")
    paths = {k: given[f"--{k.replace('_', '-')}"] for k in kinds}
    for name, path in paths.items():
        if kinds[name] in WRITTEN:
            assert path in outs, f"--{name} {path} is not among the outs of {stage}"
        elif kinds[name] == "In":
            # parts of a folder are more exact
            inside = [dep for dep in deps if dep.startswith(f"{path}/")]
            assert is_covered(path, deps) or inside, (
                f"--{name} {path} is not among the deps of {stage}"
            )
    assert set(outs) == {path for name, path in paths.items() if kinds[name] in WRITTEN}
    notes = [
        path.replace("${key}", "a-mil") for name, path in paths.items() if kinds[name] == "Note"
    ]
    for path in notes:  # what differs from run to run: in nobody's lock, in nobody's commit
        assert not is_covered(path, deps)
        assert (
            subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode
            == 0
        ), path
    kept = {path for name, path in paths.items() if kinds[name] in ("Persistent", "Renewed")}
    entries = [
        e
        for kind in ("outs", "metrics", "plots")
        for e in DAG[stage].get(kind, [])
        if isinstance(e, dict)
    ]
    persisting = {path for e in entries for path, options in e.items() if options.get("persist")}
    assert persisting == kept, (
        f"{stage}: what DVC is not to empty (persist: true) is Persistent or Renewed in its main, "
        "nothing else"
    )


def test_every_recipe_is_of_a_rule_that_is_run():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for recipe in params["recipes"].values():
        assert {recipe["curation"], recipe["archive"]} <= set(params["curate"]["rules"])


def test_paths_are_in_the_dag_alone(repository):
    """Stages and library get their paths as arguments; nobody else knows where data lie."""
    known = re.compile(r"""["'](data|models|reports)/""")
    allowed = (
        "captionseg/commands/",
        "stages/gate.py",
        "stages/keep.py",  # defaults of commands for people
        "captionseg/encoders/lite0_minilm.py",  # a folder inside a package
    )
    found = [
        f
        for f in repository.modules("captionseg", "stages")
        if not f.startswith(allowed) and known.search(_code(f))
    ]
    assert not found, f"paths of artifacts in {', '.join(found)}"


def _code(file: str) -> str:
    """A file without docstrings and comments, roughly."""
    text = re.sub(r'""".*?"""', '""', (ROOT / file).read_text(), flags=re.DOTALL)
    return "\n".join(line.split("  # ")[0] for line in text.splitlines())
