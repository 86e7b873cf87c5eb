"""What a stage reads becomes data sets with the digests that DVC has."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from captionseg.tracking import logged_datasets
from captionseg.tracking.stage_run import open_stage_run
from captionseg.tracking.store import Store

MD5 = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def locked(root):
    """A lock as DVC writes it, with a model whose recipe is gone."""

    def out(path, md5=MD5, **more):
        return {"path": path, "hash": "md5", "md5": md5, "size": 10, **more}

    stages = {
        "download": {
            "outs": [out("data/pairs", f"{MD5}.dir", nfiles=3), out("data/truth", nfiles=2)]
        },
        "curate": {"deps": [out("data/pairs", "stale")], "outs": [out("reports/curation.json")]},
        "pretrain@a": {"outs": [out("models/a", nfiles=2)]},
        "pretrain@b": {"outs": [out("models/b", nfiles=2)]},
        "pretrain@gone": {"outs": [out("models/gone", nfiles=2)]},
        "validate": {"cmd": "true"},
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    for name in ("data/pairs", "data/truth", "models/a", "models/b", "data/unknown"):
        (root / name).mkdir(parents=True)
    return root


def test_an_out_has_the_digest_of_the_lock_and_a_folder_of_outs_one_of_its_own(locked):
    pairs, models, curation = logged_datasets.find_inputs(
        locked, ["data/pairs", "models", "reports/curation.json", "data/unknown"]
    )
    assert pairs == logged_datasets.Input("data/pairs", f"{MD5}.dir", ("download",), 10, 3)
    assert (models.stages, models.size, models.files) == (("pretrain@a", "pretrain@b"), 20, 4)
    assert len(models.digest) == 32
    assert models.digest != MD5
    assert (curation.digest, curation.files) == (MD5, 1)
    assert max(len(one.digest) for one in (pairs, models, curation)) <= 36


def test_without_a_lock_nothing_is_known(tmp_path):
    assert logged_datasets.find_inputs(tmp_path, ["data/pairs"]) == []
    (tmp_path / "dvc.lock").write_text("")
    assert logged_datasets.find_inputs(tmp_path, ["data/pairs"]) == []


def test_pairs_are_counted_by_split(tmp_path):
    status = ["success", "success", "failed_to_download", "success"]
    table = pa.table({"split": ["train", "train", "train", "test"], "status": status})
    pq.write_table(table, tmp_path / "00000.parquet")
    assert logged_datasets.count_pictures(tmp_path) == {"train": 2, "test": 1}
    pq.write_table(pa.table({"uid": ["a"]}), tmp_path / "00000.parquet")
    assert logged_datasets.count_pictures(tmp_path) == {}
    assert logged_datasets.count_pictures(tmp_path / "nowhere") == {}


def test_a_stage_that_dvc_runs_logs_what_it_reads_and_its_reproduction_the_pairs(
    locked, monkeypatch
):
    monkeypatch.setenv("CAPTIONSEG_FLOW_RUN", "abc")
    monkeypatch.setenv("DVC_STAGE", "evaluate@a")
    pq.write_table(
        pa.table({"split": ["train"], "status": ["success"]}),
        locked / "data" / "pairs" / "0.parquet",
    )
    run = open_stage_run(store := Store(locked, 5.0), "evaluate", "a", {})
    for _ in range(2):  # every stage tells the reproduction
        run.inputs({"model": "models/a", "pairs": "data/pairs", "other": "data/unknown"})
    found = store.client.get_run(run.run).inputs.dataset_inputs
    assert {(one.dataset.name, one.dataset.digest, one.tags[0].value) for one in found} == {
        ("models/a", MD5, "evaluation"),
        ("data/pairs", f"{MD5}.dir", "evaluation"),
    }
    (pairs,) = store.client.get_run(run.parent).inputs.dataset_inputs
    assert json.loads(pairs.dataset.profile) == {
        "num_rows": 1,
        "splits": {"train": 1},
        "files": 3,
        "bytes": 10,
    }
    assert (pairs.dataset.source_type, json.loads(pairs.dataset.source)) == (
        "dvc",
        {"path": "data/pairs", "stages": ["download"]},
    )


def test_by_hand_nothing_is_logged_since_the_lock_may_be_of_other_files(locked):
    run = open_stage_run(store := Store(locked, 5.0), "evaluate", "a", {})
    run.inputs({"pairs": "data/pairs"})
    assert store.client.get_run(run.run).inputs.dataset_inputs == []
