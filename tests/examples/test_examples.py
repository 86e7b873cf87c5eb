"""The scripts of examples/, its notebook and the code of docs/api.md run, on a model of random
weights.
"""

from __future__ import annotations

import ast
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.captionseg.benchmarks.conftest import save_regions
from tests.captionseg.conftest import toy, world  # noqa: F401
from tests.contracts.documents import Document

ROOT = Path(__file__).parents[2]
PICTURES = ("zebra.jpg", "street.jpg")


@pytest.fixture
def folder(toy, world, tmp_path, monkeypatch):  # noqa: F811
    """A folder with two pictures and two recipes, which is the current one."""
    from captionseg.training.pretrain import copy_encoder

    for seed, name in enumerate(("cocu-mil", "nouns-mil")):
        home = tmp_path / "models" / name
        save_regions(home, world, seed)
        copy_encoder(world.encoder, home / "encoder")
        (home / "concepts.txt").write_text("zebra\ngrass\nsky\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    for name in PICTURES:
        image = Image.fromarray(rng.integers(0, 255, (4, 6, 3), dtype=np.uint8))
        image.resize((60, 40)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str, *arguments: str, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


def test_one_picture(folder, monkeypatch, capsys):
    run("segment_picture.py", "zebra.jpg", "zebra", "grass", "sky; clouds", monkeypatch=monkeypatch)
    *shares, out = capsys.readouterr().out.splitlines()
    assert sum(float(line.split()[-2]) for line in shares) == pytest.approx(100, abs=0.2)
    with Image.open(folder / out) as image:
        assert image.width >= 60


def test_a_folder_to_coco(folder, monkeypatch, capsys):
    run("folder_to_coco.py", ".", "masks.json", "zebra", "sky", monkeypatch=monkeypatch)
    data = json.loads((folder / "masks.json").read_text())
    assert [image["file_name"] for image in data["images"]] == sorted(PICTURES)
    assert sum(one["area"] for one in data["annotations"]) == 2 * 60 * 40
    assert capsys.readouterr().out.startswith("masks.json: 2 pictures, ")


def test_two_recipes(folder, monkeypatch, capsys):
    arguments = ("models/nouns-mil", "models/cocu-mil", "zebra.jpg", "zebra", "sky")
    run("compare_recipes.py", *arguments, monkeypatch=monkeypatch)
    assert capsys.readouterr().out.startswith("nouns-mil and cocu-mil agree on ")
    with Image.open(folder / "zebra_compared.png") as image:
        assert image.width >= 120


def test_the_notebook(folder, capsys):
    """Cell by cell; the last line of a cell is what would be shown."""
    book = json.loads((ROOT / "examples" / "tour.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], len({cell["id"] for cell in book["cells"]})) == (
        4,
        len(book["cells"]),
    )
    names: dict = {}
    shown = []
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []  # none of another run
            body = ast.parse("".join(cell["source"]))
            last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
            exec(compile(body, "tour.ipynb", "exec"), names)
            if last is not None:
                shown.append(eval(compile(ast.Expression(last.value), "tour.ipynb", "eval"), names))
    assert sum(isinstance(one, Image.Image) for one in shown) == 2
    assert json.loads((folder / "zebra.json").read_text())["images"][0]["width"] == 60
    assert "knows zebra, grass, sky" in capsys.readouterr().out


def test_the_code_of_the_document(folder, capsys):
    fences = [f for f in Document("docs/api.md").fences if f.language == "python"]
    assert len(fences) >= 6
    names: dict = {}
    for fence in fences:
        exec(compile(fence.text, f"docs/api.md:{fence.line}", "exec"), names)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("Segmentation(zebra.jpg, 60 x 40: ")
    assert out[1] == "no_such_file.jpg: no such file"
    assert len(json.loads((folder / "masks.json").read_text())["images"]) == 2


def test_the_document_names_everything_public():
    import captionseg

    text = Document("docs/api.md").text
    members = {
        name
        for kind in (captionseg.Model, captionseg.Segmentation)
        for name in vars(kind)
        if not name.startswith("_")
    }
    internal = {"choose_words", "segment_pixels", "score_pixels", "spelling", "contrast"}
    missing = {n for n in {*captionseg._HOMES, *members} - internal if n not in text}
    assert not missing
