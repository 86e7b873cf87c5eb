"""The repository as text: its files and what they import."""

from __future__ import annotations

import pytest

from stages.deps import Repository


@pytest.fixture(scope="session")
def repository() -> Repository:
    return Repository()
