"""A clone shows its reports: the pages that git holds have their pictures, and no picture is held
that no page shows.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "reports/comparison.md",
    *sorted(f"reports/{p.name}" for p in (ROOT / "reports").glob("*.html")),
)
PICTURE = re.compile(r"""(?:src|srcset)="([^"]+)"|!\[[^\]]*\]\(([^)]+)\)""")


def shown(page: str) -> set[str]:
    """Paths of the pictures of a page, from the root of the repository."""
    folder = (ROOT / page).parent
    found = (a or b for a, b in PICTURE.findall((ROOT / page).read_text(encoding="utf-8")))
    return {str((folder / path).resolve().relative_to(ROOT)) for path in found}


def held(*folders: str) -> set[str]:
    done = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {path for path in done.stdout.splitlines() if Path(path).suffix in (".jpg", ".png")}


@pytest.mark.parametrize("page", PAGES)
def test_pictures_of_a_page_are_in_git(page):
    assert shown(page) <= held("reports", "docs")


def test_no_picture_of_a_report_is_in_git_for_nothing():
    assert held("reports") <= {path for page in PAGES for path in shown(page)}
