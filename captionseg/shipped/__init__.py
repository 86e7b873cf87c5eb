"""The model that comes with the package: the best of the committed default run, with its card.

`python -m captionseg.shipped` makes it anew from a finished run; nobody edits it.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
RECORD = "made_of.json"
"""File that says what a shipped model was made of: recipe, params and scores."""


def path() -> Path | None:
    """Return the folder of the model that came with the package; None if it came without."""
    return next((file.parent for file in sorted(FOLDER.glob(f"*/{RECORD}"))), None)
