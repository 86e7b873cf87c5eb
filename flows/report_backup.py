"""Backs up the reports that git tracks while their stage runs.

DVC deletes a stage's outs before it runs. Data can be restored from the cache, but files that are
only in git (`cache: false`) would be missing until the stage succeeds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from flows.plan import Stage

PLACE = Path(".dvc", "tmp", "reports")


@contextlib.contextmanager
def preserve_reports(root: Path, stage: Stage) -> Iterator[None]:
    """Restore the missing reports if the stage fails inside this context.

    DVC does not mistake them for new ones, because it compares them with dvc.lock.
    """
    folder = root / PLACE / quote(stage.name, safe="@")
    save(root, stage, folder)
    try:
        yield
    except BaseException:
        put_back(root, folder)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def save(root: Path, stage: Stage, folder: Path) -> None:
    """Copy a stage's reports to `folder`, all or none."""
    part = folder.with_name(f"{folder.name}.part")
    for path in (folder, part):
        shutil.rmtree(path, ignore_errors=True)
    for out in stage.reports:
        source, target = root / out, part / out
        if ".." in Path(out).parts or not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target, follow_symlinks=False)
    if part.exists():
        part.rename(folder)


def put_back(root: Path, folder: Path) -> int:
    """Restore the saved files that are missing; return their number."""
    count = 0
    for path in sorted(folder.rglob("*")):
        target = root / path.relative_to(folder)
        if (path.is_file() or path.is_symlink()) and not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
            count += 1
    shutil.rmtree(folder, ignore_errors=True)
    return count


def recover(root: Path, say: Callable[[str], None]) -> None:
    """Restore reports after a run was killed. The caller must hold the lock of the repository."""
    for folder in sorted((root / PLACE).glob("*")):
        if folder.suffix == ".part":
            shutil.rmtree(folder, ignore_errors=True)
        elif count := put_back(root, folder):
            say(f"restored {count} reports of stage {folder.name}, whose run was killed")
