"""Masks of parts: connected pieces by hand, truth that is checked against its picture, sums over
seeds.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg.benchmarks.coco_json import Instance
from captionseg.benchmarks.mask_precision import MaskPrecision
from captionseg.benchmarks.parts import (
    Item,
    Parts,
    connected_components,
    measure_precision,
    summarise_precision,
)
from captionseg.inference.detections import Detections
from captionseg.inference.labelling import Labeller
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.protocols import ScoringOptions
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import SIZE, picture, rle

LEFT = np.arange(SIZE[1])[None].repeat(SIZE[0], 0) < SIZE[1] // 2


def test_connected_pieces_by_hand():
    labels = np.array([[0, 1, 0, 2], [0, 1, 1, 2], [3, 3, 3, 0]])
    scores = np.arange(12.0).reshape(3, 4)
    found = connected_components(labels, scores, np.array([True, True, False, False]))
    # the zeros: left (0, 4), middle (2), right below (11); by their means, the best first
    assert found.classes.tolist() == [0, 0, 0, 1]
    assert found.scores.tolist() == [11.0, 2.0, 2.0, 4.0]
    assert [mask.sum() for mask in found.masks] == [1, 2, 1, 3]
    assert found.masks[:3].any(0).tolist() == (labels == 0).tolist()
    assert connected_components(
        labels, scores, np.array([True, True, False, False]), most=1
    ).scores.tolist() == [11.0, 4.0]
    assert connected_components(labels, scores, np.zeros(4, bool)).masks.shape == (0, 3, 4)


def parts(tmp_path, *segmentations) -> Parts:
    picture(tmp_path / "p.JPEG")
    instances = tuple(Instance(n, s) for n, s in enumerate(segmentations))
    return Parts(
        ("head", "body", "grass"), 2, (Item(tmp_path / "p.JPEG", instances),), tmp_path / "val.json"
    )


def test_empty_masks_are_no_truth(tmp_path):
    ((_, masks, classes),) = parts(tmp_path, rle(np.zeros(SIZE, bool)), rle(LEFT)).truths()
    assert classes.tolist() == [1]
    np.testing.assert_array_equal(masks[0], LEFT)
    ((_, masks, classes),) = parts(tmp_path).truths()
    assert (masks.shape, classes.tolist()) == ((0, *SIZE), [])


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        (
            rle(np.ones((3, 3), bool)),
            r"val.json: a mask of p.JPEG is run lengths of \[3, 3\], but .* \[12, 16\]",
        ),
        ({"size": [12, 16]}, "a mask of p.JPEG is 'counts'"),
        (7, "a mask of p.JPEG is neither"),
    ],
)
def test_a_mask_of_another_size_is_one_line(tmp_path, segmentation, said):
    with pytest.raises(UserError, match=said):
        list(parts(tmp_path, segmentation).truths())


def test_a_model_without_segments_is_read_by_its_label_map(tmp_path):
    """Left half head, right half grass: the head is found, grass is nobody's part, the body is
    missed.
    """
    logits = torch.from_numpy(np.stack([LEFT, 0 * LEFT, ~LEFT]).astype(np.float32))
    model = SimpleNamespace(
        config=SimpleNamespace(reads=InputSpec(picture=8, tokens="clip", segments=1)),
        segment=lambda inputs, classes: logits[None],
    )
    loaded = LoadedModel(model, tmp_path, lambda: None, "cpu")  # type: ignore[arg-type]
    labeller = Labeller(loaded, classes=torch.zeros(3, 4))
    benchmark = parts(tmp_path, rle(LEFT), rle(~LEFT))
    run = measure_precision(labeller, benchmark, ScoringOptions())
    found, classes = summarise_precision([run], benchmark, ScoringOptions())
    assert found == {"map": 50.0, "map_50": 50.0, "map_75": 50.0, "map_std": 0.0}
    assert classes == {"head": 100.0, "body": 0.0}
    assert labeller.description == {
        "detections": "connected pieces of the label map",
        "max_detections": 100,
    }


def test_seeds(tmp_path):
    """One finds everything, one nothing."""
    benchmark, runs = parts(tmp_path, rle(LEFT)), []
    for right in (True, False):
        runs.append(MaskPrecision(2))
        runs[-1].add(
            Detections((LEFT if right else ~LEFT)[None], np.zeros(1, int), np.ones(1, np.float32)),
            LEFT[None],
            np.zeros(1, int),
        )
    found, classes = summarise_precision(runs, benchmark, ScoringOptions())
    assert found == {"map": 50.0, "map_50": 50.0, "map_75": 50.0, "map_std": pytest.approx(70.7107)}
    assert classes == {"head": 50.0}  # there is no body anywhere
    assert summarise_precision([MaskPrecision(2)], benchmark, ScoringOptions())[0]["map"] == 0.0
