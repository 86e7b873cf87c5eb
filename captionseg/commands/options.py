"""What several commands have: their class, and options."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from captionseg.terminal import number, set_verbosity

F = TypeVar("F", bound=Callable[..., Any])
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
PATH = click.Path(path_type=Path)
"""Type of files and folders; whether they exist is checked where they are read, in one line."""


def make_command(name: str, short_help: str) -> Callable[[Callable[..., None]], click.Command]:
    """Return the decorator that makes a function a command, whose docstring is its help.

    Args:
        name: of the command.
        short_help: its line in the list of commands.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        make = click.command(
            name,
            help=function.__doc__ or short_help,  # python -OO has no docstrings
            short_help=short_help,
            context_settings=SETTINGS,
        )
        made = make(add_verbosity(function))
        made.params.sort(key=lambda option: option.name in ("verbose", "quiet"))  # at the end
        return made

    return decorate


def add_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return the decorator that adds options in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def add_verbosity(function: F) -> F:
    """Add -v and -q, which every command has."""
    for flags, level, text in (
        (("-q", "--quiet"), -1, "no warnings and no progress, errors only"),
        (("-v", "--verbose"), 1, "also say what is done meanwhile"),
    ):
        function = click.option(
            *flags,
            is_flag=True,
            expose_value=False,
            callback=functools.partial(_change, level),
            help=text,
        )(function)
    return function


def _change(level: int, context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        set_verbosity(level)


def add_device(function: F) -> F:
    """Add --device."""
    return click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N"
    )(function)


def add_labelling(contrast: str = "0") -> Callable[[F], F]:
    """Return the decorator that adds --refine, --masks and --contrast, which say how pixels get
    their labels.

    Args:
        contrast: the default, in words.
    """
    return add_options(
        click.option(
            "--refine",
            type=click.Choice(["none", "pamr", "segments"]),
            help="refine masks along the picture's edges (PAMR) or by its class-agnostic segments "
            "(default: as saved with the model)",
        ),
        click.option(
            "--masks",
            type=click.Choice(["regions", "hierarchy"]),
            help="what models that read segments label: regions, or masks that overlap "
            "(default: as saved with the model)",
        ),
        click.option(
            "--contrast",
            type=number("--contrast", low=0, high=1),
            metavar="SHARE",
            help="share of each label's mean over the picture that is taken from its scores, "
            "against labels that flood pictures unlike those of training; for labels that are in "
            f"the picture (default: {contrast})",
        ),
    )


add_run = add_options(
    click.option("--data", type=PATH, default=Path("data"), show_default=True, help="of the run"),
    click.option(
        "--models", type=PATH, default=Path("models"), show_default=True, help="of the run"
    ),
    click.option(
        "--params",
        type=PATH,
        default=Path("params.yaml"),
        show_default=True,
        help="that says by which rule a recipe learns",
    ),
)
"""Files of a run."""
