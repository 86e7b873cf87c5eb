"""Labels by which the runs of recipes are filtered and grouped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def list_labels(params: Any, recipe: str) -> dict[str, str]:
    """Return the labels of a recipe of captionseg.params.Params."""
    return read_labels(params.raw, recipe)


def read_labels(params: Mapping[str, Any], recipe: str) -> dict[str, str]:
    """Return the labels of a recipe from parsed params.yaml, with the dataclasses' defaults."""
    row = params["recipes"][recipe]
    pretrain, evaluate = params.get("pretrain") or {}, params.get("evaluate") or {}
    source = (params.get("download") or {}).get(
        "source", "photo_scenes" if "download" in params else "auto"
    )
    benchmark = evaluate.get("name", "auto")
    seeds = (row.get("training") or {}).get("seeds") or pretrain.get("seeds") or [0]
    return {
        "recipe": recipe,
        "curation": row["curation"],
        "archive": row["archive"],
        "model": row.get("model", "segment_mil"),
        "preset": row.get("preset") or "none",
        "benchmark": source if benchmark == "auto" else benchmark,
        "seeds": str(len(seeds)),
    }
