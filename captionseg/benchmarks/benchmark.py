"""The interface of benchmarks: pictures with exact masks, and the names of their classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from captionseg.inference.inputs import PreparedFolders
from captionseg.model_inputs import Inputs
from captionseg.modeling.segmenter import InputSpec
from captionseg.segmenters.segmenter import MaskMaker


@dataclass(frozen=True)
class Sample:
    """One picture: what the model gets, its true labels [H, W] (255 ignored), its uid."""

    uid: str
    inputs: Inputs
    truth: np.ndarray


class Benchmark(Protocol):
    """Pictures with exact masks."""

    @property
    def names(self) -> tuple[str, ...]:
        """[C] class names, as they are prompted; index = label."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """[C] object or stuff, or empty."""
        ...

    @property
    def ignore(self) -> int:
        """Label of ignored pixels."""
        ...

    def __len__(self) -> int: ...

    def of(
        self, reads: InputSpec, refine: str = "none", masks: MaskMaker | None = None
    ) -> Benchmark:
        """The same pictures, with what a model and the refinement of its masks read of them; see
        Prepared.inputs.
        """
        ...

    def samples(self) -> Iterator[Sample]:
        """All pictures, in a fixed order."""
        ...


@dataclass(frozen=True)
class Folders:
    """Where the stages left what a benchmark over the run's own data reads."""

    prepared: PreparedFolders
    truth: Path


def spread(count: int, limit: int) -> np.ndarray:
    """Which of `count` things are kept where at most `limit` are wanted, evenly over all; 0 wants
    all.
    """
    few = min(limit or count, count)
    return np.linspace(0, count - 1, few).round().astype(int)
