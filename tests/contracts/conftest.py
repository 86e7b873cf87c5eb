"""The repository as text: its files and what they import."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Repository:
    """Files of the working tree that are tracked or would be, and the imports between modules of
    this project.
    """

    root = ROOT

    @functools.cached_property
    def files(self) -> list[str]:
        """Paths from the root, with slashes."""
        try:
            listed = subprocess.run(
                ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()
        # an unpacked archive: all but what is made
        except (OSError, subprocess.CalledProcessError):
            made = {"data", "models", "reports", "build", "mlruns"}
            listed = [p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*") if p.is_file()]
            listed = [
                f
                for f in listed
                if not f.startswith(".") and f.split("/")[0] not in made and "__pycache__" not in f
            ]
        return sorted({f for f in listed if (ROOT / f).is_file() and not f.startswith("build/")})

    def modules(self, *tops: str) -> list[str]:
        """The Python files below some folders."""
        return [f for f in self.files if f.endswith(".py") and f.split("/")[0] in tops]

    def module_file(self, dotted: str) -> str | None:
        """captionseg.curation.cocu -> captionseg/curation/cocu.py; None for what is no module of
        ours.
        """
        path = dotted.replace(".", "/")
        return next(
            (f for f in (f"{path}.py", f"{path}/__init__.py") if (ROOT / f).is_file()), None
        )

    @functools.cache  # noqa: B019 - one repository, one session
    def imports(self, file: str) -> tuple[tuple[str, str], ...]:
        """(file of ours, name of the function around the import or "") for each import of a file
        that runs.
        """
        found = []
        for function, node in runtime_imports(ast.parse((ROOT / file).read_text()), ""):
            names = [a.name for a in node.names]
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: relative import"
                names = [node.module, *(f"{node.module}.{name}" for name in names)]
            for name in names:
                parts = name.split(".")
                if parts[0] in ("captionseg", "stages"):  # importing a.b.c runs a and a.b, too
                    chain = (
                        self.module_file(".".join(parts[:n])) for n in range(1, len(parts) + 1)
                    )
                    found += [(f, function) for f in chain if f]
        return tuple(dict.fromkeys(found))


def runtime_imports(
    node: ast.AST, function: str
) -> Iterator[tuple[str, ast.Import | ast.ImportFrom]]:
    """Imports below a node, but for those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield function, child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from runtime_imports(other, function)
        else:
            name = child.name if isinstance(child, ast.FunctionDef) and not function else function
            yield from runtime_imports(child, name)


@pytest.fixture(scope="session")
def repository() -> Repository:
    return Repository()
