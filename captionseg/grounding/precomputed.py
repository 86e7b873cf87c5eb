"""Boxes or masks with phrases from a file, in place of a grounder (USE: Visual Genome's boxes, and
the annotations that its second model is trained on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from captionseg.grounding.grounder import Boxes, Query, join_boxes


@dataclass(frozen=True)
class Precomputed:
    """What a file says of pictures is used as it is; captions and concepts are not searched for.

    Attributes:
        file: a JSON file with boxes and phrases or class names, or a folder of SA-1B's files. See
            `captionseg.segment_text.given.read_given` for the layouts.
        reads_dense: whether the grounder reads dense features.
        makes_masks: whether it makes masks itself, so that no segmenter is needed.
    """

    file: str = ""
    reads_dense: ClassVar[bool] = False
    makes_masks: ClassVar[bool] = False

    def build(self, space: object = None, cells: np.ndarray | None = None) -> PrecomputedGrounder:
        """Build the grounder; it needs nothing of the corpus."""
        return PrecomputedGrounder()


class PrecomputedGrounder:
    """Finds nothing: phrases of the file come with their boxes. See Grounder."""

    def prepare(self, phrases: Sequence[str]) -> None:
        """See Grounder."""

    def boxes(
        self,
        image: np.ndarray,
        phrases: Sequence[str],
        *,
        dense: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        query: Query | None = None,
    ) -> Boxes:
        """See Grounder: there are no boxes."""
        return join_boxes([])
