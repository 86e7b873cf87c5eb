"""The digest of a model is DVC's, and a model is found again by it."""

import subprocess
import sys

import yaml

from captionseg.tracking import logged_models
from captionseg.tracking.store import Store
from tests.dvc_repository import init_dvc


def test_the_digest_is_the_one_of_dvc(tmp_path):
    folder = tmp_path / "models" / "a"
    for name in (
        "model.safetensors",
        "seeds/0/fit.json",
        "seeds/10/fit.json",
        "seeds.txt",
        "encoder/é.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    dvc = [sys.executable, "-m", "dvc"]
    init_dvc(tmp_path, git=False)
    subprocess.run([*dvc, "add", "-q", "models/a"], cwd=tmp_path, check=True)
    (out,) = yaml.safe_load((tmp_path / "models" / "a.dvc").read_text())["outs"]
    assert logged_models.hash_folder(folder) == out["md5"].removesuffix(".dir")


def test_the_newest_model_of_a_digest_is_found(root):
    client, experiment = (store := Store(root, 5.0)).client, store.experiment
    made = [
        client.create_logged_model(experiment, f"a{i}", tags={logged_models.DIGEST: md5}).model_id
        for i, md5 in enumerate(("x", "x", "y", "x"))
    ]
    for model in made[:3]:
        client.finalize_logged_model(model, "READY")
    found = logged_models.find(client, experiment, "x")
    assert found is not None
    assert found.model_id == made[1], "the last was never finished"
    assert logged_models.find(client, experiment, "z") is None
