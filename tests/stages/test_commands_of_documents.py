"""The commands of README.md run and do what it says, on the DAG of drawn shapes.

conftest.py runs that DAG once. test_dag.py looks at it afterwards and damages it at the end, so
this file comes first.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from captionseg import cli
from tests.contracts.documents import ROOT, Document
from tests.contracts.shell_commands import commands

SEGMENT = 'captionseg segment picture.jpg --labels "zebra, grass"'
TEMPLE = 'captionseg segment docs/pictures/temple.jpg --labels "sky, temple, hedge"'
RUN = {
    SEGMENT: "picture_segments.png",
    TEMPLE: "temple_segments.png",
    "captionseg trace UID": "outcome: success",
    "captionseg difference cocu-mil nouns-mil": "cocu-mil minus nouns-mil: ",
    "captionseg compare latest/nouns-mil latest/cocu-mil": "tune_miou",
    "make gate": "gate passed: 3 checks",
    "dvc status": "Data and pipelines are up to date.",
    "dvc metrics show": "miou.cocu-mil",
    "dvc plots show": "dvc_plots/index.html",
    "dvc params diff": "",
    "dvc metrics diff main": "miou.cocu-mil",
    # the value that the DAG has, so that no stage runs
    "dvc exp run -S curate.cocu.neighbours=32": "Stage 'curate' didn't change, skipping",
    "dvc exp show --only-changed": "workspace",
}
"""Command -> what it prints among other things."""

PICTURES = "needs pictures of one's own"
SERVERS = "starts servers and workers"
ELSEWHERE = {
    ". .venv/bin/activate": (
        "changes the shell that it is typed into",
        "tests/stages/test_commands_of_documents.py",  # runs the command behind it
    ),
    "make repro": ("creates .venv, then runs all stages", "tests/flows/test_makefile.py"),
    "make test": ("runs this test", "tests/contracts/test_ci.py"),
    "pip install .": ("downloads packages", "tests/soak/wheel.py"),
    "pip install -e .[pipeline]": (
        "downloads packages",
        "tests/contracts/test_documented_commands.py",
    ),
    "dvc repro": ("runs all stages", "tests/stages/test_dag.py"),
    "dvc exp run -S download.source=folder -S download.folder.root=/my/images": (
        PICTURES,
        "tests/stages/test_sources.py",
    ),
    "dvc exp run -S index.encoder=open_clip -S index.open_clip.model=ViT-B-16-quickgelu "
    " -S index.open_clip.pretrained=/path/to/checkpoint.safetensors": (
        "needs a checkpoint of CLIP",
        "tests/captionseg/test_clip_path.py",
    ),
    "captionseg evaluate --benchmark voc --root /data --recipe cocu-mil": (
        "needs Pascal VOC",
        "tests/captionseg/test_cli_evaluate.py",
    ),
    "make flickr8k ROOT=...": ("needs Flickr8k", "tests/stages/test_experiment.py"),
    "make experiment NAME=longer": (
        "trains the default recipes 2.6 times as long",
        "tests/stages/test_experiment.py",
    ),
    "captionseg held-out --rows 2000:": ("needs 2,000 pictures", "tests/stages/test_dag.py"),
    "pip install .[demo]": ("downloads packages", "tests/contracts/test_documented_commands.py"),
    "captionseg demo": ("serves a page", "tests/captionseg/demo/test_page.py"),
    "make services": (SERVERS, "tests/flows/test_servers.py"),
}
"""Command -> why it cannot run here, and the test that runs what it runs."""


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    """A checkout with .venv, in which README's other names exist: a picture, and the recipe that
    `captionseg segment` takes by default.
    """
    venv = run.root / ".venv"
    venv.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != ".done":
            (venv / path.name).symlink_to(path)
    (venv / ".done").write_text(f"{run.root.resolve()}\n")  # where make created it
    folder = tmp_path_factory.mktemp("pictures")
    shutil.copy(next((run.root / "reports" / "pictures").glob("*.jpg")), folder / "picture.jpg")
    (folder / "docs" / "pictures").mkdir(parents=True)
    shutil.copy(ROOT / "docs/pictures/temple.jpg", folder / "docs/pictures")
    (folder / "models").mkdir()
    (folder / "models" / "cocu_calibrated-mil").symlink_to(run.root / "models" / "cocu-mil")
    return folder


def test_every_command_of_the_readme_runs_here_or_elsewhere():
    shown = {command.text for command in commands(Document("README.md"))}
    assert shown - RUN.keys() - ELSEWHERE.keys() == set(), "add these commands to RUN or ELSEWHERE"
    assert ELSEWHERE.keys() - shown == set()
    howto = {command.text for command in commands(Document("docs/howto.md"))}
    assert RUN.keys() - shown - howto == set()


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_runs_elsewhere_has_its_test(command):
    assert (ROOT / ELSEWHERE[command][1]).is_file()


@pytest.mark.parametrize("command", [one for one in RUN if one.startswith("captionseg ")])
def test_commands_of_captionseg_do_what_the_documents_say(
    run, folder, command, monkeypatch, capsys
):
    """By a call of what the command calls, as its process would import torch again."""
    uid = pq.read_table(run.root / "data" / "pairs" / "00000.parquet")["uid"][0].as_py()
    monkeypatch.chdir(folder if command in (SEGMENT, TEMPLE) else run.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert cli.main(shlex.split(command.replace("UID", uid))[1:]) == 0
    assert RUN[command] in capsys.readouterr().out


@pytest.mark.parametrize("command", [one for one in RUN if not one.startswith("captionseg ")])
def test_commands_of_dvc_and_make_do_what_the_documents_say(run, folder, command):
    done = run.shell(command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert RUN[command] in done.stdout
