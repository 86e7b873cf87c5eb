"""Documents and code as text: what a document names, and which names exist.

No module of the project is imported here.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PACKAGES = ("captionseg", "stages", "flows", "perf", "tests")
# folders whose files a run makes
MADE = ("data", "models", "reports")


class Excerpt(NamedTuple):
    """Text from a document, and the first line of its paragraph."""

    line: int
    text: str


class Fence(NamedTuple):
    """A code block."""

    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Document:
    """A Markdown file.

    Args:
        path: from the root of the repository.
    """

    path: str

    @functools.cached_property
    def text(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    @functools.cached_property
    def tokens(self) -> list[Token]:
        return MarkdownIt().enable("table").parse(self.text)

    def inline(self) -> Iterator[tuple[int, Token]]:
        """Every inline token with the line of its paragraph."""
        for token in self.tokens:
            for child in token.children or ():
                yield (token.map or [0])[0] + 1, child

    @property
    def spans(self) -> list[Excerpt]:
        """Text in backticks."""
        return [Excerpt(n, " ".join(t.content.split())) for n, t in self.inline() if is_code(t)]

    @property
    def fences(self) -> list[Fence]:
        return [
            Fence((t.map or [0])[0] + 1, t.info.strip(), t.content)
            for t in self.tokens
            if t.type == "fence"
        ]

    @property
    def links(self) -> list[Excerpt]:
        """Targets of links and images."""
        found = [(n, t.attrs.get("href") or t.attrs.get("src")) for n, t in self.inline()]
        return [Excerpt(n, str(target)) for n, target in found if target]

    @functools.cached_property
    def anchors(self) -> set[str]:
        """Anchors of this document's headings, as GitHub derives them."""
        found: dict[str, int] = {}
        for before, token in itertools.pairwise(self.tokens):
            if before.type == "heading_open":
                title = "".join(t.content for t in token.children or ())
                slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
                found[slug] = found.get(slug, -1) + 1
        return {
            f"{slug}-{n}" if n else slug for slug, last in found.items() for n in range(last + 1)
        }


def is_code(token: Token) -> bool:
    return token.type == "code_inline"


class Code:
    """Names defined in the Python files, read from their syntax trees.

    Args:
        files: of the repository, from its root.
    """

    def __init__(self, files: Collection[str]) -> None:
        self.files = sorted(files)
        self.folders = {p.as_posix() for f in files for p in Path(f).parents} - {"."}

    @functools.cached_property
    def words(self) -> set[str]:
        """All words of the code and its configuration, without these contract tests."""
        kinds = (".py", ".yaml", ".yml", ".toml", ".txt", ".csv", ".lock", "Makefile", ".html")
        own = Path(__file__).parent.relative_to(ROOT).as_posix()
        texts = [
            (ROOT / file).read_text(encoding="utf-8")
            for file in self.files
            if file.endswith(kinds) and not file.startswith(f"{own}/")
        ]
        return {word for text in texts for word in re.findall(r"\w+", text)}

    @functools.cache  # noqa: B019 - one repository, one session
    def members(self, file: str) -> dict[str, ast.AST]:
        """Names that a module defines, assigns or imports."""
        return dict(bound_names(ast.parse((ROOT / file).read_text(encoding="utf-8")).body))

    @functools.cached_property
    def classes(self) -> dict[str, list[ast.ClassDef]]:
        """All classes by name."""
        found: dict[str, list[ast.ClassDef]] = {}
        for file in self.files:
            if file.endswith(".py") and file.split("/")[0] in PACKAGES:
                for name, node in self.members(file).items():
                    if isinstance(node, ast.ClassDef):
                        found.setdefault(name, []).append(node)
        return found

    def class_has(self, name: str, attributes: Collection[str]) -> bool:
        """Whether a class of that name, or a base class of it, has the first of the attributes.

        Further attributes depend on the type of the first, and are not checked.
        """
        if not attributes:
            return True
        todo, seen = [*self.classes.get(name, [])], set()
        while todo:
            node = todo.pop()
            if next(iter(attributes)) in attributes_of(node):
                return True
            seen.add(node.name)
            bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
            todo += [c for base in bases - seen for c in self.classes.get(base, [])]
        return False

    def defines(self, file: str, dotted: str) -> bool:
        """Whether a file defines a name such as `Maker.boxes`."""
        name, *attributes = dotted.split(".")
        return name in self.members(file) and self.class_has(name, attributes)

    def resolves(self, dotted: str) -> bool:
        """Whether a dotted name exists, such as captionseg.params.Params.check."""
        parts = dotted.split(".")
        for count in range(len(parts), 0, -1):
            path, rest = "/".join(parts[:count]), ".".join(parts[count:])
            names = (f"{path}.py", f"{path}/__init__.py", f"{path}/__init__.pyi")
            if found := [file for file in names if file in self.files]:
                return not rest or any(self.defines(file, rest) for file in found)
            if path in self.folders:  # a namespace package, such as tests
                return not rest
        return False

    def files_ending_with(self, path: str) -> list[str]:
        """Files whose paths end with `path`, in which * matches anything."""
        return [f for f in self.files if fnmatchcase(f, path) or fnmatchcase(f, f"*/{path}")]


def bound_names(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """Names that statements bind, with their nodes, also under `if` and `try`."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name.split(".")[0], alias) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (
                (leaf.id, node)
                for target in targets
                for leaf in ast.walk(target)
                if isinstance(leaf, ast.Name)
            )
        elif isinstance(node, ast.If | ast.Try):
            yield from bound_names([*node.body, *node.orelse])


def attributes_of(node: ast.ClassDef) -> set[str]:
    """Names that a class defines, and that its methods assign to self."""
    found = {name for name, _ in bound_names(node.body)}
    return found | {
        leaf.attr
        for leaf in ast.walk(node)
        if isinstance(leaf, ast.Attribute)
        and isinstance(leaf.ctx, ast.Store)
        and isinstance(leaf.value, ast.Name)
        and leaf.value.id == "self"
    }


def with_wildcards(path: str) -> str:
    """A path with * in place of RECIPE, NNNNN, <hash> or [@PROTOCOL]."""
    path = re.sub(r"\[[^\]]*\]|<[^>]*>", "*", path)
    return re.sub(r"\b[A-Z][A-Z_]*(?=\b|_)|\$\{\w+\}", "*", path).rstrip("/")


def made_paths(files: Collection[str]) -> set[str]:
    """Paths in MADE: those in dvc.yaml, in defaults of commands, and tracked files."""
    pattern = re.compile(rf"(?<![\w/.])(?:{'|'.join(MADE)})/[\w./${{}}@-]+")
    sources = [
        "dvc.yaml",
        *(f for f in files if f.startswith("captionseg/commands/") or f.startswith("stages/")),
    ]
    found = {m for f in sources for m in pattern.findall((ROOT / f).read_text(encoding="utf-8"))}
    found |= {f for f in files if f.split("/")[0] in MADE}
    found |= {"data/segment_index"}  # beside the segments, by `captionseg query-segments`
    return {with_wildcards(path.replace("@recipe", "*")) for path in found}


def is_made(path: str, known: Collection[str]) -> bool:
    """Whether a path is known, lies inside a known one or contains one."""
    parts = with_wildcards(path).split("/")
    return any(
        all(fnmatchcase(a, b) or fnmatchcase(b, a) for a, b in zip(parts, other.split("/")))
        for other in known
    )


@functools.cache
def stages_of_dvc() -> dict[str, dict]:
    """The stages of dvc.yaml."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}
