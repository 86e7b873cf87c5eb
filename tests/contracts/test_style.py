"""Budgets, names and borders that no other tool looks after."""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("captionseg", "stages", "flows", "perf")
FILE_LINES, FUNCTION_LINES, STAGE_LINES = 400, 60, 80


def test_files_are_short(repository):
    long = {
        f: n
        for f in repository.modules(*CODE, "tests")
        if (n := len((ROOT / f).read_text().splitlines())) > FILE_LINES
    }
    assert not long, f"over {FILE_LINES} lines: {long}"


def test_nothing_that_a_command_wrote_was_added_at_the_top():
    """As pictures of `captionseg segment` were, with all the rest."""
    listed = subprocess.run(
        ["git", "ls-files", ":(glob)*"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git repository")
    known = {".cff", ".lock", ".md", ".toml", ".yaml", ""}
    assert not [file for file in listed.stdout.split() if Path(file).suffix not in known]


def test_stages_are_thin(repository):
    stages = [
        f
        for f in repository.modules("stages")
        if Path(f).stem not in {"__init__", "deps", "run", "gate", "keep"}
    ]
    long = {f: n for f in stages if (n := len((ROOT / f).read_text().splitlines())) > STAGE_LINES}
    assert not long, f"over {STAGE_LINES} lines: {long}"


@functools.cache
def parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def net_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = node.end_lineno - node.lineno + 1  # type: ignore[operator]
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= first.end_lineno - first.lineno + 1  # type: ignore[operator]
    return lines


def test_functions_are_short(repository):
    long = []
    for file in repository.modules(*CODE):
        for node in ast.walk(parse(file)):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and net_lines(node) > FUNCTION_LINES
            ):
                long.append(f"{file}:{node.lineno} {node.name} ({net_lines(node)})")
    assert not long, f"over {FUNCTION_LINES} lines net of their docstrings: {long}"


def is_text_without_encoding(node: ast.AST) -> bool:
    """Whether a call reads or writes a text in the encoding of the user's language settings."""
    if not isinstance(node, ast.Call) or "encoding" in {word.arg for word in node.keywords}:
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in ("read_text", "write_text"):
        return len(node.args) == (name == "write_text")
    mode = node.args[isinstance(node.func, ast.Name) :][:1] if name == "open" else []
    text = mode and isinstance(mode[0], ast.Constant) and str(mode[0].value)
    return bool(text) and set(text) <= set("rwax+t")


def test_text_files_name_their_encoding(repository):
    """Where the language settings of a shell say Latin-1, a file that was written under others
    cannot be read, and umlauts in it become other letters."""
    found = [
        f"{file}:{node.lineno}"
        for file in repository.modules("captionseg", "stages", "flows")
        for node in ast.walk(parse(file))
        if is_text_without_encoding(node)
    ]
    assert not found, f"say encoding='utf-8': {found}"


def narrows(test: ast.expr) -> bool:
    """Whether a condition only tells a type checker what is known: `x is not None`."""
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot):
        return isinstance(test.comparators[0], ast.Constant)
    return isinstance(test, ast.Call) and getattr(test.func, "id", "") == "isinstance"


def test_assertions_only_narrow_types(repository):
    """Under `python -O` or PYTHONOPTIMIZE there are none: what is checked raises an error."""
    found = [
        f"{file}:{node.lineno}"
        for file in repository.modules("captionseg", "stages", "flows")
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Assert) and not narrows(node.test)
    ]
    assert not found, f"raise an error instead: {found}"


def test_no_file_is_a_drawer(repository):
    drawers = {"utils", "util", "common", "helpers", "helper", "misc"}
    found = [
        f
        for f in repository.files
        if drawers & set(re.split(r"[/._]", f.removesuffix(".py").lower()))
    ]
    assert not found, f"name what is inside: {found}"


def test_no_registry_is_named(repository):
    """Where packages come from is for whoever installs them to say."""
    hosts = [
        ".".join(parts)
        for parts in (
            ("pypi", "org"),
            ("files", "pythonhosted", "org"),
            ("deb", "debian", "org"),
            ("security", "debian", "org"),
            ("archive", "ubuntu", "com"),
            ("registry", "npmjs", "org"),
            ("npmjs", "com"),
            ("crates", "io"),
            ("download", "pytorch", "org"),
            ("proxy", "golang", "org"),
            ("conda", "anaconda", "org"),
        )
    ]
    found = []
    for file in repository.files:
        text = (ROOT / file).read_bytes().decode(errors="ignore")
        found += [f"{file}: {host}" for host in hosts if host in text]
    assert not found, found


def test_nothing_is_pickled(repository):
    """Models are safetensors, arrays npy without objects; foreign checkpoints are read as tensors
    alone.
    """
    found = []
    for file in repository.modules(*CODE):
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = ast.unparse(node.func)
                options = {k.arg: ast.unparse(k.value) for k in node.keywords}
                unsafe = call == "torch.load" and options.get("weights_only") != "True"
                unsafe |= (
                    call in {"np.load", "numpy.load"}
                    and options.get("allow_pickle", "False") != "False"
                )
                unsafe |= call.split(".")[0] in {"pickle", "joblib", "dill"}
                if unsafe:
                    found.append(f"{file}:{node.lineno} {call}")
    assert not found, found


def test_artifacts_are_not_committed(repository):
    heavy = {
        ".pt",
        ".pth",
        ".ckpt",
        ".npy",
        ".tar",
        ".safetensors",
        ".parquet",
        ".index",
        ".deb",
        ".db",
    }
    shipped = "captionseg/shipped/"  # how large it may be: tests/captionseg/shipped
    files = [f for f in repository.files if not f.startswith(shipped)]
    assert not [f for f in files if Path(f).suffix in heavy]


def test_imports_go_downward():
    """The layers of pyproject.toml, by import-linter."""
    tool = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which(
        "lint-imports"
    )
    if tool is None:
        pytest.skip("import-linter is not installed (pip install -e '.[dev]')")
    done = subprocess.run(
        [tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
