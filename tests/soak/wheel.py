"""The package as a stranger gets it: a wheel, installed into an empty environment, segments a
photograph there with the model that it brings. Prints what was downloaded to disk, seconds and
memory.

    python -m tests.soak.wheel [--folder FOLDER] [--extra pipeline]

It downloads gigabytes. `make wheel-test` runs it.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LABELS = ("sky", "temple", "hedge")
CUDA = re.compile(
    r"(nvidia|triton|cuda)[^/]*/|torch/lib/(libtorch_cuda|libc10_cuda|libtorch_nvshmem|libcaffe2_nv)"
)
"""Files of PyPI's PyTorch for Linux that one for CPUs does not have."""
GIGABYTE = 1e9


def build(folder: Path, *options: str) -> Path:
    """Build the wheel from a copy of what git does not ignore: nothing that lies about gets in.

    Args:
        folder: for the wheel.
        options: of `pip wheel`.

    Returns:
        its path.
    """
    with tempfile.TemporaryDirectory(dir=folder) as copy:
        names = ("captionseg", "stages", "flows", "pyproject.toml", "README.md", "LICENSE")
        git = ["git", "ls-files", "-zco", "--exclude-standard", *names]
        found = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, found.split("\0")):
            if (ROOT / name).is_file():
                (Path(copy) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, Path(copy) / name)
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *options]
        call([*pip, "--wheel-dir", folder, copy])
    return next(folder.glob("captionseg-*.whl"))


def call(command: list[str | Path], **options: object) -> float:
    """Run a command that knows nothing of this checkout; returns its seconds."""
    start = time.monotonic()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    words = [str(word) for word in command]
    subprocess.run(words, check=True, env=environment, **options)  # type: ignore[call-overload]
    return time.monotonic() - start


def measure(folder: Path) -> tuple[float, float, list[tuple[float, str]]]:
    """GB of an environment's packages, what of it is CUDA's, and the largest packages."""
    packages: dict[str, float] = {}
    total = cuda = 0.0
    for site in folder.glob("lib/python*/site-packages"):
        for path in site.rglob("*"):
            if path.is_file() and not path.is_symlink():
                name, size = path.relative_to(site).as_posix(), path.stat().st_blocks * 512
                total += size
                if CUDA.match(name):
                    cuda += size
                else:
                    top = name.split("/")[0]
                    packages[top] = packages.get(top, 0) + size
    largest = sorted(((size / GIGABYTE, top) for top, size in packages.items()), reverse=True)
    return total / GIGABYTE, cuda / GIGABYTE, largest


def segment(python: Path, folder: Path) -> float:
    """Segment the photograph of README in an empty folder, far from the checkout."""
    picture = folder / "temple.jpg"
    picture.write_bytes((ROOT / "docs" / "pictures" / "temple.jpg").read_bytes())
    command = [python.with_name("captionseg"), "segment", picture, "--labels", ", ".join(LABELS)]
    return call(command, cwd=folder)


def main() -> None:
    """Build, install, segment, and print the numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.wheel", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--folder", type=Path, help="where to install (default: a temporary one)")
    parser.add_argument("--extra", default="", help="also install this extra")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        wheel, python = build(folder), folder / "venv" / "bin" / "python"
        call([sys.executable, "-m", "venv", folder / "venv"])
        what = f"captionseg[{arguments.extra}] @ {wheel.as_uri()}" if arguments.extra else wheel
        lock = ("--constraint", ROOT / "requirements.lock")
        seconds = call([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", *lock, what])
        total, cuda, largest = measure(folder / "venv")
        (folder / "pictures").mkdir()
        times = [segment(python, folder / "pictures") for _ in range(2)]
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        size = wheel.stat().st_size / 1e6
    lines = (
        f"wheel {size:.1f} MB; installed in {seconds:.0f} s",
        f"environment {total:.2f} GB, of it CUDA {cuda:.2f} GB; without {total - cuda:.2f} GB",
        "  ".join(f"{name} {1000 * part:.0f} MB" for part, name in largest[:16]),
        f"first picture {times[0]:.1f} s, again {times[1]:.1f} s; largest process {peak:.2f} GB",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
