"""Masks after any model: snapped to regions, or along the edges of the picture."""

from dataclasses import replace

import pytest
import torch

from captionseg.inference.pamr import pamr
from captionseg.inference.pixels import refine_logits
from captionseg.inference.refine import RefineParams
from captionseg.prepared import pixel_inputs, without_regions
from captionseg.records import UserError

LOGITS = torch.tensor([[[1.0, 3.0, 5.0, 7.0]], [[0.0, 0.0, 8.0, 0.0]]])


def regions(*labels: int):
    return replace(
        without_regions(1, (1, 4)),
        regions=torch.zeros(1, max(labels) + 1, 0),
        region_mask=torch.ones(1, max(labels) + 1, dtype=torch.bool),
        labels=torch.tensor([[labels]], dtype=torch.uint8),
    )


def test_a_region_has_the_mean_of_its_logits():
    found = refine_logits(LOGITS, regions(0, 0, 1, 1), RefineParams("segments"))
    assert found.tolist() == [[[2.0, 2.0, 6.0, 6.0]], [[0.0, 0.0, 4.0, 4.0]]]
    coarse = refine_logits(
        LOGITS, regions(0, 1), RefineParams("segments")
    )  # labels of a coarser grid
    assert coarse.tolist() == found.tolist()


def test_nothing_is_done_unless_it_is_asked_for():
    assert refine_logits(LOGITS, regions(0), RefineParams()) is LOGITS


def test_pamr_on_a_coarser_grid():
    torch.manual_seed(0)
    inputs = pixel_inputs(torch.rand(1, 3, 16, 32), (16, 32))
    logits = torch.rand(2, 16, 32)
    exact = refine_logits(
        logits, inputs, RefineParams("pamr", side=16, iterations=3, dilations=[1, 2])
    )
    torch.testing.assert_close(exact, pamr(inputs.image[0], logits, iterations=3, dilations=[1, 2]))
    assert refine_logits(logits, inputs, RefineParams("pamr", side=8)).shape == (2, 16, 32)


def test_what_is_missing_is_one_line():
    with pytest.raises(UserError, match="pamr needs pixels"):
        refine_logits(LOGITS, regions(0), RefineParams("pamr"))
    with pytest.raises(UserError, match="segments needs regions"):
        refine_logits(LOGITS, without_regions(1, (1, 4)), RefineParams("segments"))


@pytest.mark.parametrize(
    "change", [{"side": 0}, {"iterations": -1}, {"dilations": []}, {"dilations": [0]}]
)
def test_what_does_not_fit(change):
    with pytest.raises(ValueError, match="refine: side and dilations must be at least 1"):
        RefineParams(**change)
