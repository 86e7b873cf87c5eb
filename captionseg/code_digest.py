"""Hashes code of this package: what it made earlier is used again only if the code is the same."""

from __future__ import annotations

from pathlib import Path

from captionseg.storage.folders import hash_files

PACKAGE = Path(__file__).parent


def hash_code(*patterns: str, package: Path = PACKAGE) -> str:
    """Hash modules with sha256, as hex digits.

    Args:
        patterns: of their paths in the package, such as "encoders/*.py"; without any, all.
        package: folder of the package.
    """
    chosen = patterns or ("**/*.py",)
    return hash_files(sorted({file for pattern in chosen for file in package.glob(pattern)}))
