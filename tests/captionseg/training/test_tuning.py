from dataclasses import replace

import numpy as np
import pytest
import torch

from captionseg.datasets.pair_tables import read_truth
from captionseg.datasets.shard_images import read_images
from captionseg.grids import squash
from captionseg.metrics import areas, mean_iou
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import normalise_image
from captionseg.storage.writing import write_json
from captionseg.training import tuning

TUNE = slice(35, 43)


def test_nearest_takes_the_centres_of_cells():
    mask = np.arange(36).reshape(6, 6)
    assert tuning.nearest(mask, 3).tolist() == [[7, 9, 11], [19, 21, 23], [31, 33, 35]]
    assert tuning.nearest(mask, 6).tolist() == mask.tolist()
    assert (
        tuning.nearest(np.arange(8).reshape(2, 4), 4).tolist()
        == [[0, 1, 2, 3]] * 2 + [[4, 5, 6, 7]] * 2
    )


def test_the_tune_split_alone(world, folders):
    tune = tuning.load(folders, side=8)
    assert tune is not None
    assert tune.truth.shape == (8, 8, 8)
    assert tune.names == ("dog", "cat", "bird", "grass", "sand", "water")
    inputs = tune.inputs(slice(None))
    pooled = world.pooled[TUNE, :4].astype(np.float32)
    np.testing.assert_array_equal(inputs.regions, pooled)
    np.testing.assert_array_equal(inputs.labels, world.labels[TUNE])
    assert inputs.region_mask.sum(1).tolist() == [4] * 8
    assert inputs.size == (8, 8)
    for number, grid in enumerate(tune.truth):  # left half an object, right half stuff
        assert set(grid[:, :4].ravel()) == {number % 3}
        assert set(grid[:, 4:].ravel()) == {3 + number // 3 % 3}


def test_pictures_for_models_that_read_pixels(world, folders):
    tune = tuning.load(folders, side=8, reads=InputSpec(picture=16))
    inputs = tune.inputs(slice(2, 5))
    images = [image for _, image in read_images(world.pairs, "00002")][2:5]
    assert inputs.image.shape == (3, 3, 16, 16)
    expected = torch.stack([normalise_image(squash(image, 16)) for image in images])
    torch.testing.assert_close(inputs.image, expected)
    assert inputs.regions.shape[1] == 0


class Oracle:
    """Says what is there: regions 0 and 2 are left, 1 and 3 right."""

    def __init__(self, truth: np.ndarray, wrong: int = 0) -> None:
        self.truth, self.at, self.wrong = truth, 0, wrong

    def label(self, inputs, classes):
        truth = self.truth[self.at : self.at + len(inputs.regions)].copy()
        truth[: self.wrong] = 0
        self.at += len(truth)
        return torch.from_numpy(truth).long()


def test_scores_are_percent_of_the_whole_split(folders):
    tune = tuning.load(folders, side=8)
    assert tune.mean_iou(Oracle(tune.truth), torch.zeros(6, 16), batch=3) == 100.0
    predicted = tune.truth.copy()
    predicted[:2] = 0
    expected = 100 * mean_iou(
        sum(areas(p, t, 6) for p, t in zip(predicted, tune.truth, strict=True))
    )
    assert tune.mean_iou(Oracle(tune.truth, wrong=2), torch.zeros(6, 16)) == pytest.approx(expected)


def test_no_tune_split_or_no_truth_is_none(folders, tmp_path):
    assert tuning.load(folders, side=8, split="nowhere") is None
    write_json({"names": [], "kinds": []}, tmp_path / "classes.json")
    assert len(read_truth(tmp_path)) == 0
    assert tuning.load(replace(folders, truth=tmp_path), side=8) is None
