"""The command line.

    captionseg segment zebra.jpg --labels "zebra, grass"
    captionseg groups zebra.jpg --model models/groupvit
    captionseg demo
    captionseg check-params
    captionseg convert groupvit nvidia-groupvit ours
    captionseg export models/cocu-mil --to onnx
    captionseg query-segments "a red apple" -k 20
    captionseg export-segments sa1b
    captionseg evaluate --benchmark voc --root /data --recipe cocu-mil
    captionseg difference cocu-mil nouns-mil
    captionseg trace photo.jpg
    captionseg neighbours 32923ceb
    captionseg held-out --rows 2000:
    captionseg compare latest~1 latest
    captionseg sync

A command is a module of captionseg.commands, which is imported when it is asked for, and imports
what it needs when it runs. So --help is fast.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

import captionseg
from captionseg.commands.options import SETTINGS, add_verbosity
from captionseg.runtime.ending import end_process
from captionseg.terminal import guarded

# Before torch starts threads: waiting ones give up their core. On a busy machine a picture takes a
# tenth of the time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

NAME = "captionseg"
COMPLETION = "_CAPTIONSEG_COMPLETE"
"""Variable by which a shell asks for completions, see docs/howto.md."""

COMMANDS = (
    "segment",
    "groups",
    "demo",
    "check-params",
    "export",
    "export-segments",
    "convert",
    "query-segments",
    "evaluate",
    "difference",
    "compare",
    "sync",
    "trace",
    "neighbours",
    "held-out",
)
"""In the order of --help; `check-params` is `command` of captionseg/commands/check_params.py."""


class Commands(click.Group):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click.Group."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click.Group."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"captionseg.commands.{cmd_name.replace('-', '_')}")
        return module.command


@click.group(
    cls=Commands,
    context_settings=SETTINGS,
    no_args_is_help=False,
    help="Train and use open-vocabulary segmentation models from captioned images.",
)
@click.version_option(captionseg.__version__, prog_name=NAME, message="%(prog)s %(version)s")
@add_verbosity
def program() -> None:
    """The command line as a whole."""


def start() -> NoReturn:
    """Run the command line, and end this process."""
    end_process(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or another exit code after one line on stderr, see `guarded`."""
    if instruction := os.environ.get(COMPLETION):
        from click.shell_completion import shell_complete

        return shell_complete(program, {}, NAME, COMPLETION, instruction)
    words = sys.argv[1:] if argv is None else list(argv)

    def run() -> None:
        # not program.main, which has exit codes of its own for Ctrl-C and closed pipes
        with program.make_context(NAME, words) as context:
            program.invoke(context)

    return guarded(run)
