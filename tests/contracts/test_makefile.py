"""What the Makefile refuses, it refuses before it has cost anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
exec {python} -c "import sys; sys.version_info = ({version}, 0); exec(sys.argv[2])" "$@"
"""  # says that it is another version; what it is told to run comes after `-c`


@pytest.mark.parametrize(("version", "fits"), [("3, 13", False), ("3, 10", False), ("3, 12", True)])
@pytest.mark.parametrize("target", ["venv", "lock"])
def test_a_python_that_the_package_is_not_for_is_refused_at_once(tmp_path, version, fits, target):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    python.write_text(PYTHON.format(python=sys.executable, version=version))
    python.chmod(0o755)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)  # whatever comes next fails at once, too
    done = subprocess.run(
        ["make", target, f"PYTHON={python}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert bool(said) is not fits
    if not fits:
        assert said[0].startswith("error: Python 3.11 to 3.12 is needed, and")
        assert done.returncode != 0
        assert "-m venv" not in done.stdout
        assert not (tmp_path / ".venv" / "pyvenv.cfg").exists()
