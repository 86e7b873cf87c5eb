"""Prepares a fresh clone for workspace.py: sets the repository's cache, applies overrides, and
checks out the data.

    python flows/override.py ROOT pretrain.epochs=2 ...

A separate program, because DVC prints warnings, locks and changes the working directory. Overrides
have DVC's syntax (Hydra's), with `file:` in front of those for other files than params.yaml.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# The start of a list, mapping, quoted text or function. A folder may be named [a].
NOT_TEXT = re.compile(r"\s*(?!\[[^\[\],]*\]/)(?:[\[{'\"]|\w+\()")


def quote_literal(override: str) -> str:
    """Quote the value of an override if Hydra's grammar cannot read it as plain text.

    Paths and words may contain brackets, commas, `=` or non-Latin letters; a comma in a path does
    not separate values. Values that the grammar reads, and invalid lists, mappings and functions,
    stay unchanged.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    name, equals, value = override.partition("=")
    if not equals or NOT_TEXT.match(value):
        return override
    try:
        several = OverridesParser.create().parse_override(f"x={value}").is_sweep_override()
        if not several or "/" not in value:
            return override
    except HydraException:
        pass
    # Inside quotes a backslash is literal, except before a quote.
    text = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"{name}='{text}'"


def main(argv: list[str]) -> int:
    """Entry point: 0, or 1 after one line on stderr."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from hydra.errors import HydraException

    root, overrides = Path(argv[0]), [quote_literal(override) for override in argv[1:]]
    try:
        configure(root)
        if fault := apply(overrides) or check_params():
            print(fault, file=sys.stderr)
            return 1
        with Repo() as repo:
            repo.checkout(force=True, allow_missing=True)
    except (DvcException, HydraException) as error:
        reason = " ".join(f"{error}: {error.__cause__ or ''}".split()).partition(
            " See https://hydra.cc"
        )[0]
        print(reason + advise_quotes(overrides), file=sys.stderr)
        return 1
    return 0


def configure(root: Path) -> None:
    """Let this copy use the cache and the remotes of the repository `root`."""
    from dvc.config import Config
    from dvc.config_schema import RelPath
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        cache = repo.cache.local_cache_dir
        remotes = {
            name: {key: value for key, value in remote.items() if isinstance(value, RelPath)}
            for name, remote in repo.config["remote"].items()
        }
    local = root / ".dvc" / "config.local"  # remotes and their keys
    if local.exists():
        shutil.copy(local, Path(".dvc", "config.local"))
    # Relative to this copy, so that it can move with the repository. The paths of remotes are
    # relative to the repository and must be adapted too.
    near = RelPath(cache) if Path(cache).is_relative_to(root.resolve()) else cache
    with Config(str(Path(".dvc").resolve())).edit("local") as edited:
        settings: Any = edited
        # Links, so that a copy needs no disk space. Linked files are read-only, but stages never
        # write into existing files.
        section = settings.setdefault("cache", {})
        section |= {"dir": near, "type": ["reflink", "hardlink", "copy"]}
        for name, places in remotes.items():
            settings.setdefault("remote", {}).setdefault(name, {}).update(places)


def apply(overrides: list[str]) -> str:
    """Apply overrides to params.yaml; return what is wrong with them, or nothing."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

    paths = to_path_overrides(overrides)
    if len(get_hydra_sweeps(paths)) != 1:
        return (
            "a parameter has several values, which are several runs; start one run per value"
            f"{advise_quotes(overrides)}"
        )
    for path, values in paths.items():
        apply_overrides(path, values)
    return ""


def advise_quotes(overrides: list[str]) -> str:
    """Return advice if a value contains punctuation that is special in Hydra, such as a comma."""
    values = [override.partition("=")[2] for override in overrides]
    if any(set(",=[](){}: ") & set(value) and value[:1] not in "\"'[{" for value in values):
        return "; put text with punctuation or spaces in extra quotes: 'KEY=\"VALUE\"'"
    return ""


def check_params() -> str:
    """Return the mistakes in params.yaml as one line, or nothing. Checked before DVC turns its
    names into stages and folders.
    """
    if not Path("captionseg", "params.py").exists():
        return ""
    # Relative paths refer to the repository, not this copy, so files are not checked here.
    done = subprocess.run(
        [sys.executable, "-m", "captionseg", "check-params", "--no-files"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    return (
        ""
        if not done.returncode
        else "; ".join(done.stderr.removeprefix("error: ").splitlines()) or "check-params failed"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
