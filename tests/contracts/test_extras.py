"""What the code imports is in the set that installs it: inference alone, or an extra."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captionseg import cli, shipped
from captionseg.extras import EXTRAS, explain_missing, find_extra

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
INFERENCE = ("segment", "evaluate", "convert")
"""Commands for which nothing but the package itself is installed."""
OURS = ("captionseg", "stages", "flows")
DISTRIBUTIONS = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "open_clip": "open_clip_torch",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
"""Module -> distribution that brings it, where their names differ."""
OF_OTHERS = {"hydra": "dvc", "lightning_utilities": "lightning", "networkx": "dvc"}
"""Modules used beside the library that brings them, whose own requirements choose their version."""


def canonical(name: str) -> str:
    """The name of a distribution, as pip compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=;\[ ]", name)[0]).lower()


def required(lines: list[str]) -> set[str]:
    """Distributions of a list of requirements, those of our own extras in it included."""
    names: set[str] = set()
    for line in lines:
        own = re.match(r"captionseg\[([\w,]+)\]", line)
        for extra in own[1].split(",") if own else ():
            names |= required(OPTIONAL[extra])
        names |= set() if own else {canonical(line)}
    return names


@functools.cache
def imports(file: Path) -> tuple[tuple[str, bool], ...]:
    """Each module that a file imports, and whether it does so as soon as it is imported itself."""
    return tuple(walk(ast.parse(file.read_text(encoding="utf-8")), now=True))


def walk(node: ast.AST, *, now: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, now) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module or "", now
            yield from ((f"{child.module}.{alias.name}", now) for alias in child.names)
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, now=now and not function)


def find_file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def is_foreign(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in OURS


def all_imported() -> set[str]:
    """The foreign modules that our code imports anywhere."""
    files = (file for folder in OURS for file in (ROOT / folder).rglob("*.py"))
    return {m.partition(".")[0] for f in files for m, _ in imports(f) if is_foreign(m)}


def test_every_module_is_of_inference_or_of_one_extra():
    own = required(PROJECT["dependencies"])
    imported = {OF_OTHERS.get(module, module) for module in all_imported()}
    faults = []
    for module in imported:
        brought = {canonical(DISTRIBUTIONS.get(module, module))}
        extra = find_extra(module)
        if extra and not brought & required(OPTIONAL[extra]):
            faults.append(f"{module}: extra {extra} does not bring it")
        if not extra and not brought & own:
            faults.append(f"{module}: add it to the dependencies, or to captionseg.extras.EXTRAS")
        if extra and brought & own:
            faults.append(f"{module}: is in the dependencies, so not of extra {extra}")
    assert not faults, "\n".join(faults)
    assert {m for modules in EXTRAS.values() for m in modules} - imported <= {*OF_OTHERS}


@pytest.mark.parametrize("command", INFERENCE)
def test_commands_of_inference_import_nothing_else(command):
    """Following what is imported at once; what functions import has a choice of its own."""
    start = ROOT / "captionseg" / "commands" / f"{command}.py"
    reached, todo = {start}, [m for m, _ in imports(start)]
    while todo:
        module = todo.pop()
        if is_foreign(module):
            assert not find_extra(module), f"{command}: imports {module}"
        elif (file := find_file(module)) and file not in reached:
            reached.add(file)
            todo += [m for m, now in imports(file) if now]
    assert len(reached) > 10


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """An empty folder, in a process where no module of an extra can be imported any more.

    tests/captionseg runs `segment` and `convert` like this.
    """
    for name in (name for modules in EXTRAS.values() for name in modules):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_evaluate_runs_without_any_extra(alone, capsys):
    colours = np.zeros((48, 64, 3), np.uint8)
    colours[:24], colours[24:] = (120, 170, 240), (90, 160, 60)
    for folder, pixels in (("images", colours), ("masks", np.repeat([[0], [1]], 24, 0))):
        (alone / folder).mkdir()
        Image.fromarray(np.broadcast_to(pixels, (48, 64, *pixels.shape[2:])).astype(np.uint8)).save(
            alone / folder / "a.png"
        )
    (alone / "classes.txt").write_text("sky\ngrass\n")
    model = str(shipped.path())
    assert cli.main(["evaluate", "--benchmark", "folder", "--root", ".", "--model", model]) == 0
    assert "pictures        1, " in capsys.readouterr().out


def test_the_lock_has_a_version_of_everything():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    wanted = required(PROJECT["dependencies"]) | required(["captionseg[dev,clip,ray,pipeline]"])
    assert wanted <= {canonical(line) for line in lines}


def test_what_weights_bring_is_known():
    """Packages of weights that require a library make it part of inference."""
    for line in PROJECT["dependencies"]:
        if "lite0" in line or "minilm" in line:
            found = [canonical(one) for one in requires(canonical(line)) or [] if ";" not in one]
            assert found == (["sentence-transformers"] if "minilm" in line else [])


def test_a_command_without_its_extra_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "mlflow.db").touch()
    for name in [m for m in sys.modules if m.partition(".")[0] == "mlflow"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert cli.main(["compare", "latest~1", "latest"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "error: mlflow is not installed, and inference does without it; for this, run "
        "`pip install 'captionseg[pipeline]'`"
    ]


def test_the_extra_of_a_submodule_is_that_of_its_package():
    assert find_extra("mlflow.entities") == "pipeline"
    assert find_extra("ray") == "ray"
    assert find_extra("raymond") == find_extra("") == find_extra("numpy") == ""
    assert explain_missing(ModuleNotFoundError("No module named 'x'", name="x")) == ""
