"""A program for workspace.py, run in a fresh clone: give it the repository's cache, overrides, and
data.

    python flows/override.py ROOT pretrain.epochs=2 ...

A process of its own, because DVC warns, locks and changes folders as it likes. The syntax of
overrides is DVC's own code's (Hydra's), with `file:` before those that are not of params.yaml.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# What a list, a mapping, a quoted text or a function begins with. A folder may be called [a].
NOT_TEXT = re.compile(r"\s*(?!\[[^\[\],]*\]/)(?:[\[{'\"]|\w+\()")


def quote_literal(override: str) -> str:
    """An override whose value is text that Hydra's grammar has no word for, in quotes.

    Paths and words may have brackets, commas, `=`, other scripts and the like; a comma in a path
    does not make several values of it. What the grammar reads, and mistakes in lists, mappings and
    functions, stay as they are.
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
    # In quotes a backslash means itself, but before a quote.
    text = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"{name}='{text}'"


def main(argv: list[str]) -> int:
    """Entry point: 0, or 1 after one line on stderr."""
    from dvc.config import Config
    from dvc.config_schema import RelPath
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
    from hydra.errors import HydraException

    root, overrides = Path(argv[0]), [quote_literal(override) for override in argv[1:]]
    try:
        with Repo(str(root)) as repo:
            cache = repo.cache.local_cache_dir
            remotes = {
                name: {key: value for key, value in remote.items() if isinstance(value, RelPath)}
                for name, remote in repo.config["remote"].items()
            }
        local = root / ".dvc" / "config.local"  # remotes and their keys
        if local.exists():
            shutil.copy(local, Path(".dvc", "config.local"))
        with Config(str(Path(".dvc").resolve())).edit("local") as settings:
            # Links: a copy of the data costs no disk. What is linked is read-only, and stages
            # rename, never write into.
            section = settings.setdefault("cache", {})  # pyright: ignore[reportAttributeAccessIssue]
            # Relative to this copy, so that it may move with the repository; so are remotes, whose
            # paths were relative to the repository.
            near = RelPath(cache) if Path(cache).is_relative_to(root.resolve()) else cache
            section |= {"dir": near, "type": ["reflink", "hardlink", "copy"]}
            for name, places in remotes.items():
                settings.setdefault("remote", {}).setdefault(name, {}).update(places)  # pyright: ignore[reportAttributeAccessIssue]
        paths = to_path_overrides(overrides)
        if len(get_hydra_sweeps(paths)) != 1:
            print(
                "several values are several runs: start one run for each"
                f"{advise_quotes(overrides)}",
                file=sys.stderr,
            )
            return 1
        for path, values in paths.items():
            apply_overrides(path, values)
        if faults := check_params():
            print(faults, file=sys.stderr)
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


def advise_quotes(overrides: list[str]) -> str:
    """Advice, where a value has punctuation that means something to Hydra, such as a path with a
    comma.
    """
    values = [override.partition("=")[2] for override in overrides]
    if any(set(",=[](){}: ") & set(value) and value[:1] not in "\"'[{" for value in values):
        return "; text with punctuation or spaces stands in quotes of its own: 'KEY=\"VALUE\"'"
    return ""


def check_params() -> str:
    """What is wrong with params.yaml in one line, or nothing: before DVC makes stages and folders
    of its names.
    """
    if not Path("captionseg", "params.py").exists():
        return ""
    # Relative paths mean the repository's, not this copy's: stages say what is missing where they
    # read it.
    done = subprocess.run(
        [sys.executable, "-m", "captionseg", "check-params", "--no-files"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    return (
        ""
        if not done.returncode
        else "; ".join(done.stderr.removeprefix("error: ").splitlines()) or "not checked"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
