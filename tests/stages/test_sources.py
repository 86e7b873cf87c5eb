"""Data as people keep them through the stages: download and index of every layout, and the whole
DAG of one; in this process, by the commands of dvc.yaml.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from stages import run
from tests.captionseg.sources.conftest import encoded, noise
from tests.captionseg.sources.layouts import write_coco, write_img2dataset, write_kaggle

ROOT = Path(__file__).parents[2]
COUNT = 16
LAYOUTS = {
    "coco": ("coco_captions", "annotations", lambda root: write_coco(root, COUNT)),
    "kaggle": ("table", "path", lambda root: write_kaggle(root, COUNT)),
    **{
        f"img2dataset-{form}": (
            "shards",
            "path",
            lambda root, form=form: write_img2dataset(root, COUNT, form),
        )
        for form in ("webdataset", "files", "parquet")
    },
}
"""Layout -> source, its field, and what writes it."""
WORDS = ("dog", "ball", "tree", "house", "river", "boat")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, list[str]]:
    """Stage -> the words of its command in dvc.yaml; run from an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTIONSEG_TRACKING", "off")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = {}
    for name, stage in stages.items():
        words = shlex.split(stage.get("do", stage)["cmd"].replace("${run}", ""))
        found[words[0]] = words[1:]
        assert words[0] == name
    return found


def write_params(source: str, fields: dict[str, object], **sections: object) -> None:
    """params.yaml of the repository, with small values."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | sections
    params["download"] = {"source": source, "shard_size": 10, "min_success": 0.5, source: fields}
    params["runtime"] = {"workers": 1}
    params["index"] |= {"neighbours": 4, "dense_width": 16, "dense_sample": 10}
    params["index"]["alignment"] = {"folds": 2, "epochs": 1}
    Path("params.yaml").write_text(yaml.safe_dump(params))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_download_and_index(layout: str, commands, tmp_path: Path) -> None:
    source, field, write = LAYOUTS[layout]
    write_params(source, {field: str(write(tmp_path / "given")), "tune": 0.2, "test": 0.2})
    metrics = run.run("download", commands["download"])
    good = COUNT - 2  # one is broken, and one is gone
    assert metrics == {"pairs": good, "download_success": good / COUNT}
    run.run("index", commands["index"])
    pairs = [
        row for p in Path("data/pairs").glob("*.parquet") for row in pq.read_table(p).to_pylist()
    ]
    assert len(pairs) == COUNT
    assert all(row["source_row"] for row in pairs)
    ids = [
        row
        for p in Path("data/index").rglob("ids*.parquet")
        for row in pq.read_table(p).to_pylist()
    ]
    assert {row["uid"] for row in ids} == {row["uid"] for row in pairs if not row["reason"]}
    assert (Path("data/pairs/licences.csv").exists()) == (layout == "coco")


def test_the_whole_dag_of_a_table(commands, tmp_path: Path) -> None:
    """Kaggle's layout, five captions an image, of which four are held out."""
    folder = tmp_path / "flickr/Images"
    folder.mkdir(parents=True)
    lines = ["image,caption"]
    for number in range(60):
        (folder / f"{number}.jpg").write_bytes(encoded(noise(number, 64, 48), "JPEG"))
        for said in range(5):
            first, second = WORDS[number % 6], WORDS[(number // 6 + said) % 6]
            lines.append(f'{number}.jpg,"A {first} beside a {second} ."')
    (tmp_path / "flickr/captions.txt").write_text("\n".join(lines))
    write_params(
        "table",
        {"path": str(tmp_path / "flickr"), "tune": 0.2, "test": 0.2},
        curate={
            "rules": ["nouns", "cocu"],
            "vocabulary": {"minimum": 3},
            "cocu": {"neighbours": 4},
        },
        segment_text={"curation": "cocu"},
        pretrain={"seeds": [0], "epochs": 1, "batch": 16},
        recipes={"cocu-mil": {"curation": "cocu", "archive": "cocu"}},
        about={"cocu-mil": "of the test"},
        gate={},
        validate={"min_with_concepts": 0.1},
    )
    for kept in ("experiments", "benchmarks"):  # as they are in the repository
        Path("reports", kept).mkdir(parents=True)
    for stage, words in commands.items():
        run.run(stage, [word.replace("@recipe", "cocu-mil") for word in words])
    metrics = json.loads(Path("reports/metrics.json").read_text())
    assert metrics["data"]["download_success"] == 1
    assert Path("reports/index.html").is_file()
