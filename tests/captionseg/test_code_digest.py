"""Digests of code."""

from __future__ import annotations

import pytest

from captionseg.code_digest import hash_code
from captionseg.feature_reuse import CODE
from stages.deps import Repository, follow_imports, is_covered, is_hashed

SAME = {
    "captionseg/arrays.py": "holds arrays",
    "captionseg/code_digest.py": "these digests",
    "captionseg/datasets/ids.py": "names of pairs",
    "captionseg/datasets/pair_tables.py": "reads tables, whose digests count",
    "captionseg/datasets/random_access.py": "finds bytes of pictures, whose digests count",
    "captionseg/feature_reuse.py": "what is taken over",
    "captionseg/index_params.py": "settings, which count",
    "captionseg/neighbours.py": "searches features",
    "captionseg/records.py": "names and errors",
    "captionseg/remarks.py": "texts of warnings",
    "captionseg/retrieval": "searches features",
    "captionseg/runtime": "where work runs",
    "captionseg/sources/source.py": "names of sources",
    "captionseg/storage/folders.py": "finds files",
    "captionseg/storage/named_arrays.py": "names of arrays in a file",
    "captionseg/storage/reading.py": "reads files",
    "captionseg/storage/writing.py": "writes files",
}
"""Modules that features are made with, and that make no value of one -> why."""


def write_package(root, **modules):
    for name, text in modules.items():
        file = root / f"{name.replace('_', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_a_digest_knows_the_modules_of_its_patterns_alone(tmp_path):
    package = write_package(tmp_path, a="1", b="1", c_d="1")
    some, every = hash_code("a.py", "c/*.py", package=package), hash_code(package=package)
    write_package(tmp_path, b="2")
    assert hash_code("a.py", "c/*.py", package=package) == some
    assert hash_code(package=package) != every
    write_package(tmp_path, c_d="2")
    assert hash_code("a.py", "c/*.py", package=package) != some


@pytest.fixture(scope="module")
def imported():
    repository = Repository()
    found = follow_imports(repository, "captionseg/indexing.py")
    return {file for file in found if is_hashed(repository, file)}


def test_features_are_of_all_code_that_makes_them(imported):
    package = Repository().root / "captionseg"
    counted = {f"captionseg/{f.relative_to(package)}" for p in CODE for f in package.glob(p)}
    assert not {file for file in imported - counted if not is_covered(file, SAME)}
    assert not {file for file in SAME if not any(is_covered(f, {file}) for f in imported)}
    assert not {file for file in counted - imported if "/encoders/" not in file}
