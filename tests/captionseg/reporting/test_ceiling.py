"""What a model that knows the truth reaches on the regions."""

from collections import Counter

import numpy as np

from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.ceiling import label_by_truth, labels_regions, measure_ceiling
from captionseg.reporting.overlay import IGNORED


def test_a_region_has_the_class_that_covers_most_of_it():
    region = np.array([[0, 0, 0, 2], [1, 1, 2, 2]])
    true = np.array([[3, 3, 1, IGNORED], [4, 2, IGNORED, 1]])
    assert label_by_truth(region, true).tolist() == [[3, 3, 3, 1], [2, 2, 1, 1]]
    unknown = np.full_like(true, IGNORED)
    assert label_by_truth(region, unknown).tolist() == np.zeros_like(true).tolist()


def test_the_ceiling_is_that_of_the_regions_of_the_scored_split(recipes, folders):
    run = Artifacts(folders, recipes)
    right = total = 0
    for true in run.masks(uid for uid, row in run.pairs.items() if row["split"] == "test").values():
        for y, x in ((0, 0), (0, 16), (16, 0), (16, 16)):  # the fixture has four regions a picture
            count = Counter(true[y : y + 16, x : x + 16].ravel().tolist())
            right, total = right + max(count.values()), total + 256
    found = measure_ceiling(run, "test")
    assert list(found) == ["miou", "pixel_accuracy"]
    assert found["pixel_accuracy"] == round(100 * right / total, 4)
    assert found["miou"] > max(scored["scores"]["miou"] for scored in run.scores.values())


def test_there_is_none_without_masks_or_without_models_that_label_regions(
    recipes, folders, unknown
):
    assert measure_ceiling(Artifacts(unknown, recipes), "test") == {}
    assert measure_ceiling(Artifacts(folders, {}), "test") == {}
    assert labels_regions("segment_mil")
    assert not labels_regions("groupvit")
