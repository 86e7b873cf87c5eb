"""Writes the code dependencies of each stage to dvc.yaml, from the stage's imports.

    python -m stages.deps          # or `make deps`

All other lines of dvc.yaml stay unchanged.
"""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from stages.run import STAGES

CODE = ("captionseg", "stages")
PARAMS = "captionseg/params.py"
UNHASHED = {
    "captionseg/__init__.py": "the version",
    PARAMS: "DVC hashes the params; defaults are defined in the modules that use them",
    "captionseg/typed.py": "only converts the params to dataclasses",
    "captionseg/constraints.py": "only checks the params",
    "captionseg/runtime/start_up.py": "only how libraries are imported",
    "captionseg/tracking": "records a run without changing it",
    "stages/__init__.py": "only sets how threads wait",
    "stages/kinds.py": "only annotations",
    "stages/run.py": "runs all stages alike",
}
"""Code that every stage imports but no output depends on -> the reason."""

FAMILIES = (
    "captionseg/captioners/captioners.py",
    "captionseg/curation/rules.py",
    "captionseg/sources/sources.py",
    "captionseg/encoders/encoders.py",
    "captionseg/grounding/grounders.py",
    "captionseg/marking/markers.py",
    "captionseg/modeling/models.py",
    "captionseg/retrieval/indexes.py",
    "captionseg/segmenters/mask_makers.py",
    "captionseg/segmenters/region_makers.py",
    "captionseg/segmenters/segmenters.py",
)
"""Modules that list the members of a family. A stage that does not import such a module depends on
single files of its package, so that a new member does not make it stale.
"""


class Repository:
    """The tracked and trackable files of a working tree, and the imports between its modules.

    Args:
        root: root of the repository.
    """

    def __init__(self, root: Path = Path(__file__).parents[1]) -> None:
        self.root = root

    @functools.cached_property
    def files(self) -> list[str]:
        """Paths from the root, with slashes."""
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        try:
            listed = subprocess.run(
                command, cwd=self.root, capture_output=True, text=True, check=True
            ).stdout.splitlines()
        # an unpacked archive: all files that are not generated
        except (OSError, subprocess.CalledProcessError):
            made = {"data", "models", "reports", "build", "mlruns"}
            paths = (p.relative_to(self.root) for p in self.root.rglob("*") if p.is_file())
            listed = [
                p.as_posix()
                for p in paths
                if p.parts[0] not in made and p.parts[0][0] != "." and "__pycache__" not in p.parts
            ]
        return sorted(
            {f for f in listed if (self.root / f).is_file() and not f.startswith("build/")}
        )

    def modules(self, *tops: str) -> list[str]:
        """Return the Python files in some top-level folders."""
        return [f for f in self.files if f.endswith(".py") and f.split("/")[0] in tops]

    @functools.cached_property
    def packages(self) -> set[str]:
        """Folders with Python files."""
        return {f.rpartition("/")[0] for f in self.files if f.endswith(".py")}

    def package_of(self, file: str) -> str:
        """Return the nearest parent folder with Python files; it owns the data files inside."""
        folder = file.rpartition("/")[0]
        while folder and folder not in self.packages:
            folder = folder.rpartition("/")[0]
        return folder

    def module_file(self, dotted: str) -> str | None:
        """Return captionseg/curation/cocu.py for captionseg.curation.cocu; None for other
        modules.
        """
        path = dotted.replace(".", "/")
        names = (f"{path}.py", f"{path}/__init__.py")
        return next((f for f in names if (self.root / f).is_file()), None)

    def list_modules(self, package: str) -> list[str]:
        """The modules of a package."""
        return [f for f in self.files if f.endswith(".py") and f.rpartition("/")[0] == package]

    @functools.cache  # noqa: B019 - few repositories, short lives
    def text(self, file: str) -> str:
        """What is in a file."""
        return (self.root / file).read_text(encoding="utf-8")

    @functools.cache  # noqa: B019
    def tree(self, file: str) -> ast.Module:
        """A module, parsed."""
        return ast.parse(self.text(file))

    @functools.cache  # noqa: B019
    def imports(self, file: str) -> tuple[tuple[str, str], ...]:
        """(file of ours, name of the function around the import or "") for each import of a file
        that runs.
        """
        files = []
        for function, node in runtime_imports(self.tree(file), ""):
            names = [a.name for a in node.names]
            if isinstance(node, ast.ImportFrom):
                if node.level:
                    raise RuntimeError(f"{file}: relative import")
                names = [str(node.module), *(f"{node.module}.{name}" for name in names)]
            for name in names:
                parts = name.split(".")
                if parts[0] in CODE:  # importing a.b.c runs a and a.b, too
                    chain = (
                        self.module_file(".".join(parts[:n])) for n in range(1, len(parts) + 1)
                    )
                    files += [(f, function) for f in chain if f]
        return tuple(dict.fromkeys(files))

    def is_docstring(self, file: str) -> bool:
        """Return whether a module has only a docstring, so that no output depends on it."""
        return file.endswith(".py") and all(
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            for node in self.tree(file).body
        )


def runtime_imports(
    node: ast.AST, function: str
) -> Iterator[tuple[str, ast.Import | ast.ImportFrom]]:
    """Yield the imports below a node, except those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield function, child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from runtime_imports(other, function)
        else:
            name = child.name if isinstance(child, ast.FunctionDef) and not function else function
            yield from runtime_imports(child, name)


def list_attributes(node: ast.AST, name: str) -> set[str]:
    """Return the attributes of a variable that some code reads."""
    return {
        n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == name
    }


def list_sections(repository: Repository, stage: str) -> set[str]:
    """Return the methods of Params that a stage calls, directly or not; each imports the code of
    its section.
    """
    methods = {
        node.name: list_attributes(node, "self")
        for node in ast.walk(repository.tree(PARAMS))
        if isinstance(node, ast.FunctionDef)
    }
    sections: set[str] = set()
    todo = list_attributes(repository.tree(f"stages/{stage}.py"), "params")
    while todo:
        sections |= todo
        todo = {other for name in todo for other in methods.get(name, ())} - sections
    return sections


def find_needed(repository: Repository, stage: str) -> set[str]:
    """Return the library files that a stage imports, directly or not, and the data files that they
    read.
    """
    seen = follow_imports(repository, f"stages/{stage}.py", list_sections(repository, stage))
    seen |= list_data_files(repository, seen)
    return {f for f in seen if is_hashed(repository, f)}


def follow_imports(repository: Repository, start: str, sections: Iterable[str] = ()) -> set[str]:
    """Return a file and those that it imports, directly or not; of what methods of Params import,
    that of `sections`.
    """
    seen: set[str] = set()
    todo = [start]
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        todo += [
            f
            for f, function in repository.imports(file)
            if file != PARAMS or not function or function in sections
        ]
    return seen


def is_hashed(repository: Repository, file: str) -> bool:
    """Return whether outputs may depend on a file: it has code, and is not one of UNHASHED."""
    return not is_covered(file, UNHASHED) and not repository.is_docstring(file)


def list_data_files(repository: Repository, modules: set[str]) -> set[str]:
    """Return the data files that these modules read: those that one of them names, and those that
    no module of their package names, because their names are built at run time.
    """
    data_files = set()
    for file in repository.files:
        package = repository.package_of(file)
        modules_beside = {f for f in modules if f.rpartition("/")[0] == package}
        if file.endswith(".py") or package in CODE or not modules_beside:
            continue
        name = file.rpartition("/")[2]
        naming = {f for f in repository.list_modules(package) if name in repository.text(f)}
        if naming & modules_beside or (
            not naming and not all(map(repository.is_docstring, modules_beside))
        ):
            data_files.add(file)
    return data_files


def is_covered(file: str, deps: Iterable[str]) -> bool:
    """Return whether a file is one of the deps, or inside one."""
    return any(file == dep or file.startswith(f"{dep}/") for dep in deps)


def list_deps(repository: Repository, files: set[str]) -> list[str]:
    """Return the list for dvc.yaml: packages, or single files of a family whose list of members the
    stage does not import.
    """
    families = {f.rpartition("/")[0]: False for f in FAMILIES}
    for file in FAMILIES:
        families[file.rpartition("/")[0]] |= file in files
    out = set()
    for file in files:
        parts = file.split("/")
        package = "/".join(parts[:2])
        is_package = len(parts) > 2 and families.get(package, True)
        out.add(package if is_package else file)
    return sorted(out)


def list_code_deps(repository: Repository) -> dict[str, list[str]]:
    """Return stage -> its code dependencies."""
    return {name: list_deps(repository, find_needed(repository, name)) for name in STAGES}


def rewrite(text: str, deps: Mapping[str, Iterable[str]]) -> str:
    """Replace the code dependencies in dvc.yaml; data dependencies, comments and the rest stay.

    Args:
        text: text of dvc.yaml.
        deps: stage -> its code dependencies.
    """
    out: list[str] = []
    stage, margin = "", None
    for line in [*text.splitlines(keepends=True), ""]:
        words = line.split()
        if margin is not None and words[:1] not in (["-"], ["#"]):
            out += [f"{margin}- {dep}\n" for dep in deps[stage]]
            margin = None
        if line.startswith("  ") and words and line[2] != " ":
            stage = words[0].rstrip(":")
        if words == ["deps:"] and stage in deps:
            margin = line[: -len(line.lstrip())]
        elif margin is not None and words[0] == "-" and words[1].split("/")[0] in CODE:
            continue
        out.append(line)
    return "".join(out)


def main() -> None:
    """Update dvc.yaml."""
    repository = Repository()
    path = repository.root / "dvc.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(rewrite(text, list_code_deps(repository)), encoding="utf-8")


if __name__ == "__main__":
    main()
