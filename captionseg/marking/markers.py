"""Markers by name, in the order in which they run, and `curate.marks` of params.yaml, which chooses
among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from captionseg.constraints import Member
from captionseg.marking.balance import Balance
from captionseg.marking.boilerplate import Boilerplate
from captionseg.marking.exact import Exact
from captionseg.marking.file_names import FileNames
from captionseg.marking.language import Language
from captionseg.marking.length import Length
from captionseg.marking.marker import Marker
from captionseg.marking.near import Near
from captionseg.marking.repeated import Repeated
from captionseg.marking.semantic import Semantic
from captionseg.marking.sides import Sides

MARKERS = {
    "length": Length,
    "language": Language,
    "boilerplate": Boilerplate,
    "file_names": FileNames,
    "sides": Sides,
    "repeated": Repeated,
    "exact": Exact,
    "near": Near,
    "semantic": Semantic,
    "balance": Balance,
}
"""Cheap ones first. Each counts and marks only pairs that all before it keep."""

PRESETS: dict[str, dict[str, Marker]] = {
    # Gadre et al., "DataComp", 2023: basic filtering, without its fastText model of English
    "datacomp_basic": {
        "length": Length(min_words=3, min_characters=6),
        "sides": Sides(min_side=200, max_aspect=3.0),
    }
}
"""Published filters -> markers with their values."""


@dataclass(frozen=True)
class MarksParams:
    """`curate.marks`: which training pairs are left out. A marker runs where it has a section, be
    it empty (`exact: {}`), or where the preset has it.

    Attributes:
        preset: markers of PRESETS; a section of the same name takes the place of one of them.
    """

    preset: Annotated[str, Member(PRESETS, "none")] = "none"
    length: Length | None = None
    language: Language | None = None
    boilerplate: Boilerplate | None = None
    file_names: FileNames | None = None
    sides: Sides | None = None
    repeated: Repeated | None = None
    exact: Exact | None = None
    near: Near | None = None
    semantic: Semantic | None = None
    balance: Balance | None = None

    def list_markers(self) -> dict[str, Marker]:
        """The markers to run, by name, in order."""
        preset = PRESETS.get(self.preset, {})
        sections = {name: getattr(self, name) for name in MARKERS}
        markers = {
            name: preset.get(name) if sections[name] is None else sections[name] for name in MARKERS
        }
        return {name: marker for name, marker in markers.items() if marker is not None}

    def kinds(self) -> list[str]:
        """Kinds of marks that the chosen markers give, each once."""
        return list(
            dict.fromkeys(k for marker in self.list_markers().values() for k in marker.kinds)
        )
