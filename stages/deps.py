"""Which code each stage of dvc.yaml depends on, from what it imports: DVC sees only what is
declared.

    python -m stages.deps          # write the deps of code in dvc.yaml (`make deps`)

Every other line of dvc.yaml stays as it is.
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
    PARAMS: "DVC hashes the params themselves; their defaults live beside what uses them",
    "captionseg/typed.py": "makes dataclasses of the params, likewise",
    "captionseg/tracking": "tells of a run, changes nothing in it",
    "stages/__init__.py": "how threads wait",
    "stages/kinds.py": "names of annotations",
    "stages/run.py": "how any stage is run",
}
"""What every stage imports and no output depends on, and why."""

FAMILIES = (
    "captionseg/captioners/captioners.py",
    "captionseg/curation/rules.py",
    "captionseg/sources/sources.py",
    "captionseg/encoders/encoders.py",
    "captionseg/grounding/grounders.py",
    "captionseg/modeling/models.py",
    "captionseg/retrieval/indexes.py",
    "captionseg/segmenters/mask_makers.py",
    "captionseg/segmenters/region_makers.py",
    "captionseg/segmenters/segmenters.py",
)
"""Modules that list the members of a family. A stage that imports none of a package's own depends
on single files of that package, so that a new member is nothing to it.
"""


class Repository:
    """Files of a working tree that are tracked or would be, and the imports between its modules.

    Args:
        root: of the repository.
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
        # an unpacked archive: all but what is made
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
        """The Python files below some folders."""
        return [f for f in self.files if f.endswith(".py") and f.split("/")[0] in tops]

    @functools.cached_property
    def packages(self) -> set[str]:
        """Folders that hold Python files."""
        return {f.rpartition("/")[0] for f in self.files if f.endswith(".py")}

    def package_of(self, file: str) -> str:
        """The nearest folder above a file that holds Python files: a data file is its module's."""
        folder = file.rpartition("/")[0]
        while folder and folder not in self.packages:
            folder = folder.rpartition("/")[0]
        return folder

    def module_file(self, dotted: str) -> str | None:
        """captionseg.curation.cocu -> captionseg/curation/cocu.py; None for what is no module of
        ours.
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
                assert node.level == 0, f"{file}: relative import"
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
        """Is a module nothing but its docstring? No output depends on that."""
        return file.endswith(".py") and all(
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            for node in self.tree(file).body
        )


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


def list_attributes(node: ast.AST, name: str) -> set[str]:
    """Attributes of a variable that some code reads."""
    return {
        n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == name
    }


def list_sections(repository: Repository, stage: str) -> set[str]:
    """Methods of Params that a stage calls, however indirectly: each imports what its section is
    made of.
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
    """Files of the library that the stage imports, however indirectly, and the data files beside
    them.
    """
    sections = list_sections(repository, stage)
    seen: set[str] = set()
    todo = [f"stages/{stage}.py"]
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
    seen |= list_data_files(repository, seen)
    return {f for f in seen if not is_covered(f, UNHASHED) and not repository.is_docstring(f)}


def list_data_files(repository: Repository, modules: set[str]) -> set[str]:
    """Files of packages that these modules read: those that one of them names, and those that no
    module of the package names, which are read by a name that is made up when the code runs.
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
    """Is a file one of the deps, or in one of them?"""
    return any(file == dep or file.startswith(f"{dep}/") for dep in deps)


def list_deps(repository: Repository, files: set[str]) -> list[str]:
    """The list for dvc.yaml: packages, and files of a family whose members the stage does
    not read.
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
    """Stage -> its deps of code."""
    return {name: list_deps(repository, find_needed(repository, name)) for name in STAGES}


def rewrite(text: str, deps: Mapping[str, Iterable[str]]) -> str:
    """dvc.yaml with other deps of code; deps of data, comments and all else stay as they are.

    Args:
        text: of dvc.yaml.
        deps: stage -> its deps of code.
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
    """Write dvc.yaml."""
    repository = Repository()
    path = repository.root / "dvc.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(rewrite(text, list_code_deps(repository)), encoding="utf-8")


if __name__ == "__main__":
    main()
