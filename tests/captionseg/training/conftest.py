"""A training set that a small model learns in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from captionseg.datasets.pair_tables import read_truth
from captionseg.modeling.segment_mil import SegmentMilConfig
from captionseg.recipes import Recipe
from captionseg.records import SEGMENTS
from captionseg.segment_text.rle import encode
from captionseg.storage.writing import write_table
from captionseg.supervision.parquet_files import read
from captionseg.training import loader
from captionseg.training.curve import Curve
from captionseg.training.fit import ALONE, FitResult, fit
from captionseg.training.loader import Folders
from captionseg.training.params import PretrainParams
from captionseg.training.pretrain import model_config
from captionseg.training.seeds import build_model
from captionseg.training.training_set import TrainingSet


@pytest.fixture(scope="session")
def folders(world) -> Folders:
    return Folders(world.prepared, world.supervision, world.truth)


@pytest.fixture(scope="session")
def data(folders) -> TrainingSet:
    return loader.load(folders, curation="cocu", archive="cocu")


@pytest.fixture(scope="session")
def segments(world, tmp_path_factory) -> Path:
    """Of each training picture but the last its left half, named by two texts, and its right half;
    in two shards.
    """
    folder = tmp_path_factory.mktemp("segments")
    truth = dict(
        zip(
            *(read_truth(world.truth)[name].to_pylist() for name in ("uid", "concepts")),
            strict=True,
        )
    )
    uids = [u for u in read(world.supervision / "nouns").uid if u in truth][:-1]
    left = np.arange(32) < 16
    rles, areas, boxes = encode(np.stack([np.tile(half, (32, 1)) for half in (left, ~left)]))
    rows = [
        {
            "uid": uid,
            "segment_id": f"{uid}{i}",
            "width": 32,
            "height": 32,
            "rle": rles[i],
            "area": areas[i],
            "bbox": boxes[i],
            "stability": 1.0,
            "score": 1.0,
            "full_image": False,
            "source": "truth",
            "texts": [{"text": t, "kind": "phrase", "score": 1.0} for t in texts],
        }
        for uid in uids
        for i, texts in enumerate(([truth[uid][0], f"A  {truth[uid][0]}."], [truth[uid][1]]))
    ]
    for shard, part in enumerate((rows[:21], rows[21:])):
        write_table(pa.Table.from_pylist(part, schema=SEGMENTS), folder / f"{shard:05}.parquet")
    return folder


@pytest.fixture
def named(folders, segments) -> Folders:
    """The folders, with segments of the training pictures."""
    return replace(folders, segments=segments)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe("cocu", "cocu")


@pytest.fixture(scope="session")
def params() -> PretrainParams:
    return PretrainParams(
        epochs=4,
        batch=8,
        learning_rate=1e-2,
        device="cpu",
        tune_side=8,
        segment_mil=SegmentMilConfig(hidden=16, width=8, dropout=0.2),
    )


@pytest.fixture(scope="session")
def make_model(recipe, params, data):
    """seed, changed fields of the model -> a fresh model."""

    def make(seed: int = 0, **changes) -> torch.nn.Module:
        torch.manual_seed(seed)
        return build_model(
            recipe.model, model_config(replace(recipe, settings=changes), params), data
        )

    return make


@pytest.fixture(scope="session")
def run_in(make_model, data, params):
    """folder -> `run` of that folder."""

    def run_in(root: Path):
        def run(
            name: str,
            score=None,
            model=None,
            *,
            seed: int = 0,
            runtime=ALONE,
            tell=lambda *_: None,
            **changes,
        ) -> FitResult:
            curve = Curve(root / name / "curve.csv", seed, tell)
            model = model or make_model(seed)
            return fit(
                model,
                data,
                replace(params, **changes),
                seed=seed,
                score=score,
                curve=curve,
                work=root / name,
                runtime=runtime,
            )

        return run

    return run_in


@pytest.fixture
def run(run_in, tmp_path):
    """name, score, model, changed params -> what a fit in the folder of that name leaves."""
    return run_in(tmp_path)
