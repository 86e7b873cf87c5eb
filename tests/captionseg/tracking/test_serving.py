import ast
import json
import os
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from captionseg.tracking import logged_models, serving, store
from captionseg.tracking.stage_run import open_stage_run
from tests.captionseg.conftest import TINY_GROUPVIT

# A stand-in for captionseg.inference.predictor: labels alternate over the rows, from the folder's
# one on.
PREDICTOR = """
import pathlib, sys, types
import numpy as np
class Predictor:
    def __init__(self, shift): self.shift = shift
    @classmethod
    def load(cls, folder): return cls(int((pathlib.Path(folder) / "shift.txt").read_text()))
    def segment(self, image, labels):
        assert image.dtype == np.uint8 and image.ndim == 3
        assert all(type(label) is str for label in labels)
        rows = (np.arange(image.shape[0]) + self.shift) % len(labels)
        return np.repeat(rows[:, None], image.shape[1], 1).astype(np.int16)
"""

LOAD = """
sys.modules["captionseg.inference"] = types.ModuleType("captionseg.inference")
sys.modules["captionseg.inference.predictor"] = types.SimpleNamespace(Predictor=Predictor)
import mlflow, json
model = mlflow.pyfunc.load_model(sys.argv[1])
import captionseg
mask = model.predict(np.zeros((4, 2, 3), np.uint8), params={"labels": ["sky", "tree", "cat"]})
try:
    without = model.predict(np.zeros((4, 2, 3), np.uint8)).tolist()
except mlflow.exceptions.MlflowException as error:
    without = str(error)
print(json.dumps({"without": without, "mask": mask.tolist(), "dtype": str(mask.dtype), "code":
captionseg.__file__,
                  "signature": model.metadata.signature.to_dict(),
                  "example": model.input_example.shape}))
"""


LIBRARY = Path(__file__).parents[3] / "captionseg"


def imports(module, seen):
    """Top names of other people's packages that `captionseg.module` imports, directly or through
    this library.
    """
    path = LIBRARY.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not path.exists():
        return set()
    seen.add(module)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in filter(None, names):
            found |= imports(name, seen) if name.startswith("captionseg") else {name.split(".")[0]}
    return found


def test_requirements_cover_what_the_predictor_imports():
    optional = {"ray"}  # an extra, for several machines
    needed = (
        imports("captionseg.inference.predictor", set()) - set(sys.stdlib_module_names) - optional
    )
    assert {"numpy", "torch", "transformers"} <= needed
    packages = {name.lower() for name in serving.PACKAGES}
    named = metadata.packages_distributions()
    assert [
        name
        for name in sorted(needed)
        if not {d.lower() for d in named.get(name, [name])} & packages
    ] == []


def test_requirements_are_exact_and_installed():
    found = dict(line.split("==") for line in serving.list_requirements())
    assert found["numpy"] == metadata.version("numpy")
    assert all("+" not in version for version in found.values())
    assert serving.list_requirements(("numpy", "no-such-package")) == [
        f"numpy=={metadata.version('numpy')}"
    ]


def test_predict_hands_image_and_labels_to_the_predictor(monkeypatch, tmp_path):
    asked = []

    def segment(image, labels):
        asked.append((image.dtype, labels))
        return np.zeros(image.shape[:2], np.int16)

    stub = SimpleNamespace(
        Predictor=SimpleNamespace(load=lambda folder: SimpleNamespace(segment=segment))
    )
    monkeypatch.setitem(sys.modules, "captionseg.inference.predictor", stub)
    served = serving._load_pyfunc(str(tmp_path))
    assert served.predict([[[1, 2, 3]]], {"labels": np.array(["sky", "tree"])}).shape == (1, 1)
    assert asked == [(np.dtype("uint8"), ["sky", "tree"])]


@pytest.mark.parametrize(
    ("image", "params", "said"),
    [
        ([[[1, 2, 3]]], None, "labels: none; give the labels as params"),
        ([[[1, 2, 3]]], {"labels": []}, "labels: none; give the labels as params"),
        ([[[1, 2, 3]]], {"label": ["zebra"]}, "labels: none; give the labels as params"),
        ([[[1, 2, 3]]], {"labels": "zebra"}, "labels: 'zebra'; give the labels"),
        ([[[1, 2, 3]]], {"labels": ["zebra", " "]}, "labels: ' ' is not a word"),
        ([[[0.5, 0.25, 1.0]]], {"labels": ["zebra"]}, "expected whole numbers from 0 to 255"),
        ([[[1, 2, 300]]], {"labels": ["zebra"]}, "expected whole numbers from 0 to 255"),
        (
            [[1, 2, 3]],
            {"labels": ["zebra"]},
            r"expected shape \[height, width, 3\], found \[1, 3\]",
        ),
    ],
)
def test_what_was_not_asked_for_is_not_answered(monkeypatch, tmp_path, image, params, said):
    from mlflow.exceptions import MlflowException

    stub = SimpleNamespace(
        Predictor=SimpleNamespace(load=lambda folder: SimpleNamespace(segment=pytest.fail))
    )
    monkeypatch.setitem(sys.modules, "captionseg.inference.predictor", stub)
    served = serving._load_pyfunc(str(tmp_path))
    with pytest.raises(MlflowException, match=said) as caught:
        served.predict(image, params)
    assert caught.value.get_http_status_code() == 400
    assert "\n" not in caught.value.message


# MLflow, of its own code
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
def test_a_model_is_logged_with_signature_and_code_and_loads_anywhere(root, tmp_path):
    folder = tmp_path / "models" / "cocu-mil"
    folder.mkdir(parents=True)
    (folder / "shift.txt").write_text("1")
    stage = open_stage_run(store.Store(root, 5.0), "pretrain", "cocu-mil", {})
    stage.model(str(folder), "cocu-mil")
    client = stage.store.client
    run = client.get_run(stage.run)
    assert run.outputs is not None
    (output,) = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.name, logged.status.value, logged.source_run_id) == (
        "cocu-mil",
        "READY",
        run.info.run_id,
    )
    artifacts = Path(logged.artifact_location.removeprefix("file://"))
    assert not [p for p in artifacts.rglob("*") if p.suffix in (".pkl", ".pickle", ".pyc")]
    assert (artifacts / "requirements.txt").read_text().split() == serving.list_requirements()

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = textwrap.dedent(PREDICTOR) + LOAD
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(artifacts)],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["mask"] == [[1, 1], [2, 2], [0, 0], [1, 1]]
    assert found["without"].startswith("labels: none; give the labels"), (
        "MLflow puts in what the signature has"
    )
    assert found["dtype"] == "int16"
    assert found["code"].startswith(str(artifacts)), (
        "the copy that was logged, not the one that is installed"
    )
    inputs, params = (json.loads(found["signature"][key]) for key in ("inputs", "params"))
    assert inputs[0]["tensor-spec"] == {"dtype": "uint8", "shape": [-1, -1, 3]}
    assert [(p["name"], p["type"], p["shape"]) for p in params] == [("labels", "string", [-1])]
    assert found["example"][2] == 3


CHAMPION = """
import sys, numpy as np, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/captionseg@champion")
labels = ["sky", "grass", "a red apple", "dog"]
found = model.predict(np.load("picture.npy"), params={"labels": labels})
import captionseg
np.save("found.npy", found)
print(captionseg.__file__)
"""


def test_the_champion_segments_a_picture_in_a_process_that_has_no_repository(
    reproduce, root, tmp_path, monkeypatch
):
    import torch

    from captionseg.inference.predictor import Predictor
    from captionseg.modeling.groupvit import GroupViT, GroupViTConfig
    from captionseg.modeling.weights import saved
    from captionseg.typed import replace_fields

    torch.manual_seed(7)  # random weights mostly see one class
    folder = root / "models" / "small"
    model = GroupViT(replace_fields(GroupViTConfig(), TINY_GROUPVIT, "small"))
    saved.save(folder, "groupvit", model, {"prompts": "simple"})
    weights = (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr(logged_models, "LIBRARY", LIBRARY)
    reproduce({"small": (30.0, 10.0)}, weights={"small": weights})
    picture = np.zeros((48, 40, 3), np.uint8)
    picture[:, 20:], picture[24:, :20] = (255, 200, 0), (0, 60, 255)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    np.save(elsewhere / "picture.npy", picture)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHAMPION, f"sqlite:///{root / 'mlflow.db'}"],
        cwd=elsewhere,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert str(root / "mlruns") in done.stdout, (
        "the copy of the library that was logged with the model"
    )
    expected = Predictor.load(folder, device="cpu").segment(
        picture, ["sky", "grass", "a red apple", "dog"]
    )
    found = np.load(elsewhere / "found.npy")
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) == 3
