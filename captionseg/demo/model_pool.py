"""The models of a page, by name; each is loaded when it is first asked for, and once."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captionseg import shipped
from captionseg.api.model_folders import ADDRESS, find_folder, list_own, measure_recipe
from captionseg.records import UserError

if TYPE_CHECKING:
    from captionseg.api.model import Model

SHIPPED = "comes with captionseg"
FINDS = "use"  # kind of models that embed segments


def list_models(sources: Sequence[str], models: Path) -> dict[str, str]:
    """List models by what they are called on the page, the one that is used first at the beginning.

    Args:
        sources: folders and addresses of MLflow that were asked for; without any, all recipes of
            `models`, the best first, and then the model that came with the package.
        models: folder of a run.

    Returns:
        name -> folder or address.

    Raises:
        UserError: for a folder without a model, or if there is none at all.
    """
    if sources:
        for source in sources:
            if not ADDRESS.match(source) and not any(Path(source).glob("*.json")):
                raise UserError(f"--model: {source}: no model; name the folder of a trained recipe")
        return name_apart(sources)
    own = sorted(list_own(models), key=lambda folder: -measure_recipe(folder))
    listed = name_apart([str(folder) for folder in own])
    if (packaged := shipped.path()) is not None:
        listed[f"{packaged.name} ({SHIPPED})"] = str(packaged)
    return listed or {"": str(find_folder(None))}  # which says that there is none


def name_apart(sources: Sequence[str]) -> dict[str, str]:
    """Name each source by the last part of it, or by all of it where two would be called alike."""
    ends = [Path(source).name for source in sources]
    return {
        end if ends.count(end) == 1 else source: source
        for end, source in zip(ends, sources, strict=True)
    }


def embeds_segments(folder: Path) -> bool:
    """Whether the model of a folder can be searched with: its config.json says `use`."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # said by whoever loads it
        return False
    return isinstance(config, dict) and config.get("model") == FINDS


class ModelPool:
    """The models of a page.

    Attributes:
        sources: name -> folder or address, see `list_models`.
        device: that they compute on.
    """

    def __init__(self, sources: dict[str, str], device: str = "auto") -> None:
        self.sources, self.device = sources, device
        self._lock = threading.Lock()
        self._load = functools.cache(self._load_one)

    @property
    def names(self) -> list[str]:
        """What the models are called."""
        return list(self.sources)

    def get(self, name: str) -> Model:
        """Return a model, loaded.

        Args:
            name: one of `names`.

        Raises:
            UserError: if it cannot be loaded.
        """
        with self._lock:
            return self._load(name)

    def _load_one(self, name: str) -> Model:
        from captionseg.api.model import load

        return load(self.sources[name], device=self.device)

    def find_searcher(self) -> Path | None:
        """Return the folder of the first model that segments can be searched with."""
        folders = (Path(source) for source in self.sources.values() if not ADDRESS.match(source))
        return next(filter(embeds_segments, folders), None)
