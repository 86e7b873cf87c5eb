"""What `dvc init` leaves, without the second that DVC takes to start."""

from __future__ import annotations

import subprocess
from pathlib import Path


def init_dvc(root: Path, *, git: bool) -> None:
    """Make a folder, or a git repository, one of DVC's.

    Args:
        root: the folder.
        git: whether it is a git repository; DVC's files are then added to it.
    """
    (root / ".dvc").mkdir()
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (root / ".dvc" / "config").write_text("" if git else "[core]\n    no_scm = True\n")
    (root / ".dvcignore").touch()
    if git:
        subprocess.run(["git", "add", ".dvc", ".dvcignore"], cwd=root, check=True)
