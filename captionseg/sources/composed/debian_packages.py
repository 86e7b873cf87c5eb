"""Fetches and unpacks Debian packages without root: apt-get gets lists and a cache of its own."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_dir

from captionseg.records import UserError
from captionseg.storage.writing import atomic_path

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$CAPTIONSEG_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CAPTIONSEG_CACHE") or user_cache_dir("captionseg"))


def fetch(packages: Sequence[str], cache: Path | None = None) -> dict[str, Path]:
    """Unpack packages, after fetching those that are not in the cache.

    A .deb that is already in the cache's folder `debian` is used; apt verifies what it fetches
    against the signed lists.

    Args:
        packages: their names.
        cache: folder; None for `cache_folder`.

    Returns:
        package -> folder with its files.

    Raises:
        UserError: if apt-get or dpkg-deb is missing, or the fetch fails; with what to do.
    """
    home = (cache or cache_folder()) / "debian"
    folders = {package: home / package for package in packages}
    if all(folder.is_dir() for folder in folders.values()):
        return folders
    from captionseg.runtime.outputs import hold_file  # its filelock is not in every install

    home.mkdir(parents=True, exist_ok=True)
    # two first runs at once would replace a folder that the other one reads
    with hold_file(home.with_suffix(".lock"), log.warning, why=f"fetches packages into {home}"):
        missing = [package for package in packages if not folders[package].is_dir()]
        if absent := [p for p in missing if not list(home.glob(f"{p}_*.deb"))]:
            download(absent, home)
        for package in missing:
            archives = sorted(home.glob(f"{package}_*.deb"))
            if not archives:
                raise UserError(
                    f"download: apt-get left no {package}_VERSION.deb in {home}; put it there by "
                    "hand"
                )
            unpack(archives[-1], folders[package])
    return folders


def download(packages: Sequence[str], home: Path) -> None:
    """`apt-get update` and `apt-get download` into `home`, with private lists and cache."""
    hint = (
        f"put {', '.join(p + '_VERSION.deb' for p in packages)} into {home} by hand, or choose "
        "another source (params.yaml: download.source: shapes, or folder with your own pictures)"
    )
    if not shutil.which("apt-get"):
        raise UserError(
            f"download: there is no apt-get on this machine, which the pictures come from; {hint}"
        )
    state = home / "apt"
    for folder in (state / "lists" / "partial", state / "cache" / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        "-q",
        "-o",
        f"Dir::State::lists={state / 'lists'}",
        "-o",
        f"Dir::Cache={state / 'cache'}",
        "-o",
        "APT::Sandbox::User=root",
        "-o",
        "Acquire::Retries=3",
    ]
    for command in (["update"], ["download", *packages]):
        process = subprocess.run(
            ["apt-get", *options, *command], cwd=home, capture_output=True, text=True, check=False
        )
        if process.returncode:
            lines = (process.stderr.strip() or process.stdout.strip() or "no message").splitlines()
            # a third-party list that fails must not stop us while the packages are known
            if command == ["update"]:
                log.warning("apt-get update: %s", lines[-1])
                continue
            raise UserError(
                f"download: apt-get could not fetch {', '.join(packages)}: {lines[-1]}; {hint}"
            )


def unpack(deb: Path, folder: Path) -> None:
    """Unpack a .deb into a folder, which appears only when it is complete."""
    if not shutil.which("dpkg-deb"):
        raise UserError(
            f"download: there is no dpkg-deb on this machine; unpack {deb} into {folder} by hand"
        )
    with atomic_path(folder) as part:
        process = subprocess.run(
            ["dpkg-deb", "-x", str(deb), str(part)], capture_output=True, text=True, check=False
        )
        if process.returncode:
            reason = (process.stderr.strip() or "no message").splitlines()[0]
            raise UserError(f"{deb}: not a readable package ({reason}); delete it and run again")
