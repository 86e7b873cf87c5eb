"""captionseg: captioned images into pixel supervision and open-vocabulary segmentation models.

    import captionseg

    model = captionseg.load()
    result = model.segment("zebra.jpg", ["zebra", "grass"])
    result.overlay().save("zebra_segments.png")

Nothing is imported before it is used (docs/api.md, __init__.pyi).
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Model": "captionseg.api.model",
    "Segmentation": "captionseg.api.segmentation",
    "UserError": "captionseg.records",
    "find_model": "captionseg.api.model_folders",
    "load": "captionseg.api.model",
    "to_coco": "captionseg.api.coco",
}
"""Public names and their modules. Type checkers read __init__.pyi, so that no module of this
package seems to import all of it.
"""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    """List the public names too, before they are imported."""
    return sorted({*globals(), *_HOMES})
