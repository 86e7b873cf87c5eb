"""Names in documents exist: code, files, params, links."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path, PurePosixPath

import pytest
import yaml

from captionseg.params import Params
from tests.contracts import param_names
from tests.contracts.documents import MADE, PACKAGES, ROOT, Code, Document, is_made, made_paths

HISTORY = {"docs/log.md", "CHANGELOG.md"}  # they name what existed at the time
DOCUMENTS = sorted(
    p.relative_to(ROOT).as_posix()
    for p in (*ROOT.glob("*.md"), ROOT / "data/README.md", *ROOT.glob("docs/**/*.md"))
    if p.relative_to(ROOT).as_posix() not in HISTORY
)
COLUMNS = 100
# Names from other projects.
FOREIGN = {
    "CustomTextCLIP",  # of open_clip
    "NCCL_SOCKET_IFNAME",
    "RAY_AUTH_TOKEN",
    "alembic_version",  # of the servers' databases
    "labelIds",  # of Cityscapes
    "prepare_ade20k_full_sem_seg.py",  # of MaskFormer
}
NO_FIELDS = {"persist", "pictures"}
"""Names in `name: value` that are keys of dvc.yaml or of results."""

FILE = re.compile(r"([\w./*-]+\.py)(?:: (.+))?")
DATA = re.compile(r".+\.(csv|db|html|index|jpg|json|npy|parquet|png|safetensors|tar|txt)")
DOTTED = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w*-]+)+")
FIELD = re.compile(r"([a-z][\w.*-]*)(?:: |=)\S.*")


@pytest.fixture(scope="module")
def code(repository) -> Code:
    return Code(repository.files)


@pytest.fixture(params=DOCUMENTS)
def document(request) -> Document:
    return Document(request.param)


def report(document: Document, faults: list[tuple[int, str]]) -> str:
    return "\n".join(f"{document.path}:{line}: {fault}" for line, fault in faults)


def test_documents_are_many():
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/operations.md"} <= {*DOCUMENTS}


def test_missing_names_are_detected(code):
    """Otherwise the tests below would pass whatever documents say."""
    assert code.resolves("captionseg.params.Params.SECTIONS")
    assert not code.resolves("captionseg.params.Params.PARTS")
    assert not code.resolves("captionseg.parameters")
    assert code.defines("captionseg/params.py", "Params.check")
    assert not code.defines("captionseg/params.py", "check")
    assert param_names.is_param("download.folder.root")
    assert param_names.is_param("recipes.any-name.curation")
    assert not param_names.is_param("download.folder.path")
    assert not param_names.is_param_within_section("folder.path")
    assert is_made("reports/recipes/RECIPE.json", made_paths(code.files))
    assert not is_made("reports/receipts/RECIPE.json", made_paths(code.files))


def test_lines_have_at_most_100_columns(document):
    """Except images, whose links cannot be broken into lines."""
    long = [
        (number, f"{len(line)} columns")
        for number, line in enumerate(document.text.splitlines(), 1)
        if len(line) > COLUMNS and not line.startswith("![")
    ]
    assert not long, report(document, long)


def test_links_and_anchors_exist(document, repository):
    if not (ROOT / ".git").exists():
        pytest.skip("an unpacked archive does not say which reports are committed")
    folders = {p.as_posix() for f in repository.files for p in Path(f).parents}
    faults = []
    for line, target in document.links:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = resolved(document.path, path) if path else document.path
        if file not in repository.files and file not in folders:
            faults.append((line, f"{target}: no such file in the repository"))
        elif anchor and file.endswith(".md") and anchor not in Document(file).anchors:
            faults.append((line, f"{target}: {file} has no such heading"))
    assert not faults, report(document, faults)


def resolved(document: str, link: str) -> str:
    """The path from the root to which a link in a document points."""
    parts: list[str] = []
    for part in (*PurePosixPath(document).parent.parts, *PurePosixPath(link).parts):
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def test_files_and_their_names_exist(document, code):
    """`file.py`, which may be the end of a path, and `file.py: name, Class.method`."""
    faults = []
    for line, text in document.spans:
        match = FILE.fullmatch(text)
        if not match or match[1] in FOREIGN or PurePosixPath(match[1]).stem == "x":
            continue
        files = code.files_ending_with(match[1])
        if not files:
            faults.append((line, f"{text}: no such file"))
        for name in re.split(r", ", match[2] or ""):
            if files and name and not any(code.defines(file, name) for file in files):
                faults.append((line, f"{match[1]} has no {name}"))
    assert not faults, report(document, faults)


def test_paths_exist(document, code):
    """In the repository, or among the paths that a run writes.

    RECIPE and similar words match any name. So does the file `x.py` of CONTRIBUTING.
    """
    known = made_paths(code.files)
    within = {f.split("/")[1] for f in code.folders if f.startswith("captionseg/")}
    tops = {f.split("/")[0] for f in code.folders} - {".dvc"}
    faults = []
    for line, text in document.spans:
        top = text.split("/")[0]
        if "/" not in text or " " in text or FILE.fullmatch(text) or top not in tops | within:
            continue
        path = text.rstrip("/")
        if top in MADE:
            exists = is_made(path, known)
        else:
            if PurePosixPath(path).stem == "x":
                path = str(PurePosixPath(path).parent)
            exists = path in code.folders or f"captionseg/{path}" in code.folders
            exists |= bool(code.files_ending_with(path))
        if not exists:
            faults.append((line, f"{text}: no such file or folder"))
    assert not faults, report(document, faults)


def test_python_names_exist(document, code):
    """captionseg.curation.cocu.CoCu, modeling.PRESETS within captionseg, and Class.method."""
    within = {f.split("/")[1] for f in code.folders if f.startswith("captionseg/")}
    faults = []
    for line, text in document.spans:
        name = re.sub(r"\(.*\)$", "", text)
        if not DOTTED.fullmatch(name) or "*" in name or is_file_name(name, code):
            continue
        top, *attributes = name.split(".")
        if top in PACKAGES:
            exists = code.resolves(name)
        elif top in within - {*Params.SECTIONS}:
            exists = code.resolves(f"captionseg.{name}")
        elif top[0].isupper() and not top.isupper():
            exists = code.class_has(top, attributes)
        else:
            continue
        if not exists:
            faults.append((line, f"{text}: no such name"))
    assert not faults, report(document, faults)


def is_file_name(name: str, code: Code) -> bool:
    return bool(DATA.fullmatch(name) or code.files_ending_with(name)) or name in FOREIGN


def test_params_exist(document, code):
    """curate.cocu.neighbours; grounding_dino.threshold within a section; `neighbours: 32`; and
    numbers of a run, such as recipes.NAME.BENCHMARK.miou.
    """
    faults = []
    for line, text in document.spans:
        field = FIELD.fullmatch(text)
        name = field[1] if field else text
        if is_file_name(name, code) or name in NO_FIELDS:
            continue
        if DOTTED.fullmatch(name) and name.split(".")[0] in Params.SECTIONS:
            exists = param_names.is_param(name) or param_names.is_metric(name)
        elif DOTTED.fullmatch(name) and name.split(".")[0] in param_names.nested_fields():
            exists = param_names.is_param_within_section(name) or param_names.is_metric(name)
        elif field and ": " in text and "." not in name:
            exists = param_names.is_param_within_section(name)
            exists |= name in Params.SECTIONS or name in variants(document)
        else:
            continue
        if not exists:
            faults.append((line, f"{text}: no such param"))
    assert not faults, report(document, faults)


def variants(document: Document) -> set[str]:
    """Names of variants that a document defines: `NAME: {rule: ..}`."""
    return {m[1] for _, text in document.spans if (m := re.match(r"(\w+): \{rule: ", text))}


def test_identifiers_exist(document, code):
    """A single name such as `assign_eps` or `groupvit_small()` occurs in code or configuration."""
    faults = [
        (line, f"{text}: nowhere in the code")
        for line, text in document.spans
        if re.fullmatch(r"[A-Za-z]\w*(\(\))?", text)
        and text.removesuffix("()") not in code.words | FOREIGN
    ]
    assert not faults, report(document, faults)


def test_deployments_exist(document):
    names = {d["name"] for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    faults = [
        (line, f"{text}: no such deployment")
        for line, text in document.spans
        if (match := re.fullmatch(r"reproduce/(\w+)", text)) and match[1] not in names
    ]
    assert not faults, report(document, faults)


def test_version_bounds_match_pyproject(document):
    """`fastapi<0.151` in a document is the bound in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = sum(project["optional-dependencies"].values(), project["dependencies"])
    bounds = {re.split(r"[<>=;\[ ]", one)[0]: one for one in every if "<" in one}
    faults = [
        (line, f"{text}: pyproject.toml has {bounds.get(match[1], 'no bound of it')}")
        for line, text in document.spans
        if (match := re.fullmatch(r"([\w-]+)(<[\d.]+)", text))
        and not bounds.get(match[1], "").endswith(match[2])
    ]
    assert not faults, report(document, faults)
