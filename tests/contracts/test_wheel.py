"""The wheel holds all that an installation needs, and says what it is. Built without network; what
an installation of it does is in tests/soak/wheel.py.
"""

from __future__ import annotations

import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from captionseg import __version__, shipped
from captionseg.shipped.packing import FILES
from tests.contracts.test_extras import INFERENCE, OPTIONAL, PROJECT, canonical
from tests.soak.wheel import build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, open."""
    path = build(tmp_path_factory.mktemp("wheel"), "--no-build-isolation", "--no-index")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    name = f"captionseg-{__version__}.dist-info/METADATA"
    return message_from_string(wheel.read(name).decode())


def test_it_has_the_shipped_model_whole(wheel):
    model = shipped.path()
    assert model is not None
    for name in (*FILES, "README.md", shipped.RECORD):
        inside = f"captionseg/shipped/{model.name}/{name}"
        assert wheel.read(inside) == (model / name).read_bytes()


def test_it_has_the_code_and_its_data_and_nothing_else(wheel):
    names = {n for n in wheel.namelist() if ".dist-info/" not in n}
    assert {n.split("/")[0] for n in names} == {"captionseg", "stages", "flows"}
    data = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "captionseg").rglob("*.*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert {n for n in names if n.startswith("captionseg/")} == data
    assert sum(one.compress_size for one in wheel.infolist()) < 6e6


def test_its_metadata_say_who_and_what(metadata):
    assert metadata["Version"] == __version__
    assert metadata["Author"] == "The captionseg developers"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# captionseg\n")
    addresses = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert addresses == PROJECT["urls"]


def test_without_an_extra_it_asks_for_inference_alone(metadata):
    wanted = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    plain = {canonical(one.name) for one in wanted if not one.marker}
    assert plain == {canonical(line) for line in PROJECT["dependencies"]}
    heavy = {"dvc", "prefect", "mlflow", "great-expectations", "lightning", "spacy", "faiss-cpu"}
    assert not plain & {*heavy, "transformers", "open-clip-torch", "pandas", "ray"}
    assert set(metadata.get_all("Provides-Extra")) == {*OPTIONAL}


def test_its_command_is_there(wheel):
    points = wheel.read(f"captionseg-{__version__}.dist-info/entry_points.txt").decode()
    assert "captionseg = captionseg.cli:start" in points
    for command in INFERENCE:
        assert f"captionseg/commands/{command}.py" in wheel.namelist()
