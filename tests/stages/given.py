"""Data as people keep them, written in small, and the stages on them: in this process, by the
commands of dvc.yaml.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from captionseg.sources.shapes import Shapes
from captionseg.sources.source import Sample
from stages import run
from tests.captionseg.sources import layouts
from tests.captionseg.sources.layouts import BROKEN, write_coco, write_img2dataset, write_kaggle

ROOT = Path(__file__).parents[2]
COUNT = 32
"""Pictures of a layout; layouts.BROKEN and layouts.GONE among them."""
RECIPES = ("nouns-mil", "cocu-mil")


@functools.cache
def draw_shapes(number: int) -> Sample:
    """A picture of shapes and its caption; its mask stays here."""
    return Shapes(train=200, tune=0, test=0, size=64).samples("train", [number], seed=0)[0]


def draw(number: int) -> bytes:
    """The bytes of a picture of shapes."""
    jpeg = draw_shapes(number).jpeg
    assert jpeg is not None
    return jpeg


def draw_or_break(number: int) -> bytes:
    """The same, but one of a layout's is broken."""
    return layouts.draw(number) if number == BROKEN else draw(number)


def say(number: int, nth: int) -> str:
    """What the first caption of a picture says; the others name one thing each."""
    sample = draw_shapes(number)
    return f"a {sample.concepts[nth % len(sample.concepts)]}" if nth else sample.caption


DRAWN: dict[str, Any] = {"draw": draw_or_break, "say": say}

LAYOUTS: dict[str, tuple[str, str, Callable[[Path], Path]]] = {
    "coco": ("coco_captions", "annotations", lambda root: write_coco(root, COUNT, **DRAWN)),
    "kaggle": ("table", "path", lambda root: write_kaggle(root, COUNT, **DRAWN)),
    **{
        f"img2dataset-{form}": (
            "shards",
            "path",
            lambda root, form=form: write_img2dataset(root, COUNT, form, **DRAWN),
        )
        for form in ("webdataset", "files", "parquet")
    },
}
"""Layout -> source, its field, and what writes it."""


def choose_source(layout: str, root: Path, **fields: Any) -> dict[str, Any]:
    """Section `download` of a layout, which is written below `root`."""
    source, field, write = LAYOUTS[layout]
    fields = {field: str(write(root)), "tune": 0.2, "test": 0.2, **fields}
    return {"source": source, "shard_size": 10, "min_success": 0.5, source: fields}


def set_params(download: dict[str, Any], **sections: Any) -> None:
    """params.yaml of the repository, with small values, in the working directory."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"download": download, "runtime": {"workers": 1}, "gate": {}}
    params["index"] |= {"neighbours": 4, "dense_width": 16, "dense_sample": 10}
    params["index"]["alignment"] = {"folds": 2, "epochs": 1}
    params["index"]["lite0_minilm"] = {"size": 64}
    params["curate"] |= {
        "rules": ["nouns", "cocu"],
        "vocabulary": {"minimum": 3},
        "cocu": {"neighbours": 4},
    }
    params["segment_text"] = {"curation": "cocu"}
    params["validate"] = {"min_with_concepts": 0.1}
    params["pretrain"] = {"seeds": [0], "epochs": 1, "batch": 16}
    for section in ("recipes", "about"):
        params[section] = {name: params[section][name] for name in RECIPES}
    Path("params.yaml").write_text(yaml.safe_dump(params | sections))


def run_stages(
    names: Iterable[str] = run.STAGES, recipes: Iterable[str] = RECIPES
) -> dict[str, dict[str, float]]:
    """Run stages in the working directory, those of recipes for each of them; metrics by stage."""
    for kept in ("experiments", "benchmarks"):  # as they are in the repository
        Path("reports", kept).mkdir(parents=True, exist_ok=True)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = {}
    for name in names:
        stage = stages[name]
        words = shlex.split(stage.get("do", stage)["cmd"].replace("${run}", ""))
        assert words[0] == name
        for recipe in recipes if "foreach" in stage else ("",):
            found[name] = run.run(name, [word.replace("@recipe", recipe) for word in words[1:]])
    return found


def read_rows(folder: str | Path, pattern: str = "*.parquet") -> list[dict[str, Any]]:
    """The rows of all tables below a folder, in the order of their files."""
    files = sorted(Path(folder).rglob(pattern))
    return [row for file in files for row in pq.read_table(file).to_pylist()]
