"""Converts the arguments of `captionseg evaluate` to options of benchmarks and models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionseg.benchmarks.published.catalogue import Spec, background_of, threshold_of, windows_of
from captionseg.inference.protocols import ScoringOptions, merge_with_preset
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Protocol
from captionseg.records import UserError
from captionseg.segmenters.mask_makers import MasksParams


@dataclass(frozen=True)
class Arguments:
    """Options of `captionseg evaluate`, as they were given; see its help.

    Attributes:
        benchmark: name of the benchmark.
        recipe: name of a recipe; None scores `model`.
        model: folder of a model.
        protocol: key of PROTOCOLS; None takes what was saved with the model.
        prompts: template set.
        limit: number of pictures; 0 takes all.
        background: score of the background.
        windows: sliding windows, SHORT,CROP,STRIDE.
        refine: method of RefineParams.
        masks: maker of MasksParams.
        contrast: see Protocol.
        ignore: mask values to ignore.
        bootstrap: number of bootstrap samples.
        out: file of the result.
        device: auto, cpu, cuda or cuda:N.
    """

    benchmark: str
    recipe: str | None = None
    model: Path = Path()
    protocol: str | None = None
    prompts: str | None = None
    limit: int = 0
    background: str | None = None
    windows: str | None = None
    refine: Any = None
    masks: Any = None
    contrast: float | None = None
    ignore: str | None = None
    bootstrap: int = 1000
    out: Path | None = None
    device: str = "auto"


def result_path(arguments: Arguments, folder: Path) -> Path | None:
    """Return the path for the result of `evaluate`, or None.

    Args:
        arguments: arguments of the command.
        folder: folder for results of recipes; partial results and those with custom options are
            not written there.

    Raises:
        UserError: for invalid arguments, or a path that cannot be written.
    """
    if arguments.limit < 0 or arguments.bootstrap < 1:
        raise UserError("--limit must not be negative, and --bootstrap must be at least 1")
    out = arguments.out
    if out and (out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK)):
        raise UserError(f"{out}: cannot be written; give a file in an existing folder")
    own = any(
        getattr(arguments, name) is not None
        for name in ("prompts", "background", "windows", "refine", "masks", "contrast")
    )
    if out or not arguments.recipe or arguments.limit or own:
        return out
    protocol = f"@{arguments.protocol}" if arguments.protocol else ""
    return folder / arguments.recipe / f"{arguments.benchmark}{protocol}.json"


def scoring_options(arguments: Arguments, spec: Spec) -> ScoringOptions:
    """Return how models are scored on a benchmark.

    Raises:
        UserError: for options that the benchmark does not support.
    """
    name = arguments.protocol
    protocol = Protocol(
        windows_of(spec, arguments.windows, name),
        RefineParams(arguments.refine) if arguments.refine else None,
        MasksParams(arguments.masks) if arguments.masks else None,
        arguments.contrast or 0.0,
    )
    return ScoringOptions(
        merge_with_preset(name, protocol) if name else protocol,
        arguments.prompts or "",
        background_of(spec, arguments.background),
        threshold_of(spec),
        arguments.device,
        arguments.bootstrap,
    )
