import numpy as np
import pytest
import torch

from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.benchmarks import BENCHMARKS
from captionseg.benchmarks.evaluate import count, scores
from captionseg.benchmarks.own_split import HeldOut
from captionseg.benchmarks.params import EvaluateParams
from captionseg.typed import build


@pytest.fixture
def folders(world) -> Folders:
    return Folders(world.prepared, world.truth)


@pytest.fixture
def benchmark(folders) -> HeldOut:
    return HeldOut.load(folders, "test")


def test_the_pictures_of_the_split_with_their_masks(world, benchmark):
    split = np.array(world.table["split"].to_pylist())
    assert (
        benchmark.pictures.uid == np.array(world.table["uid"].to_pylist())[split == "test"].tolist()
    )
    assert len(benchmark) == 8
    assert benchmark.kinds == ("object",) * 3 + ("stuff",) * 3
    for number, sample in enumerate(benchmark.samples()):
        assert sample.truth.shape == sample.inputs.size == (32, 32)
        assert set(sample.truth[:, :16].ravel()) == {number % 3}
        row = np.flatnonzero(split == "test")[number]
        np.testing.assert_array_equal(sample.inputs.regions[0], world.pooled[row][:4])
        assert sample.inputs.region_mask.all()


def test_an_oracle_gets_everything_right(benchmark):
    truths = iter([sample.truth for sample in benchmark.samples()])
    out = scores([count(benchmark, lambda _: next(truths))], samples=20, seed=0)
    assert (out["miou"], out["pixel_accuracy"]) == (100.0, 100.0)


def test_the_best_that_regions_allow(benchmark):
    """Quadrants follow the border between the halves: whoever names each region right is right
    everywhere.
    """
    truths = iter([sample.truth for sample in benchmark.samples()])

    def best(inputs):
        truth = next(truths)
        labels = torch.nn.functional.interpolate(
            inputs.labels[:, None].float(), size=inputs.size, mode="nearest-exact"
        )
        labels = labels[0, 0].long().numpy()
        return np.array([np.bincount(truth[labels == r]).argmax() for r in range(4)])[labels]

    assert scores([count(benchmark, best)], samples=2, seed=0)["miou"] == 100.0


def test_a_split_without_truth_has_no_pictures(folders):
    benchmark = HeldOut.load(folders, "val")
    assert len(benchmark) == 0
    assert not list(benchmark.samples())


def test_params():
    assert build(EvaluateParams, {"split": "tune"}, "evaluate").split == "tune"
    assert BENCHMARKS["held_out"] is HeldOut
