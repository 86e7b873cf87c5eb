"""The params.yaml of this repository, with some values changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from captionseg.params import Params

ROOT = Path(__file__).parents[2]


def changed(tmp_path, changes: dict[str, Any]) -> Params:
    """The real file with some values changed, by their dotted paths."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    for path, value in changes.items():
        *above, last = path.split(".")
        inside = raw
        for name in above:
            inside = inside[name]
        inside[last] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    return Params(tmp_path / "params.yaml")
