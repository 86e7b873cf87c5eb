"""Labels without the scores of all pixels, against the scores of all pixels."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from captionseg.inference import pixels, region_pixels
from captionseg.inference.contrast import contrast_labels
from captionseg.inference.pixels import label_and_score, label_pixels, mask_logits
from captionseg.inference.refine import RefineParams
from captionseg.inference.region_pixels import contrast_regions, find_best, sample_regions
from captionseg.inference.windows import Background, ResolvedProtocol
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.prepared import pixel_inputs

SIZE = (37, 53)


@pytest.fixture
def region() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 6, (1, 1, 5, 7), generator=generator)
    return F.interpolate(coarse.float(), SIZE, mode="nearest")[0, 0].long()


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.rand(9, 7, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_contrast_of_regions_is_that_of_their_pixels(scores, region, share):
    found = contrast_regions(scores, region, share)[:, region]
    torch.testing.assert_close(found, contrast_labels(scores[:, region], share))


@pytest.mark.parametrize("grid", [(5, 7), (37, 53), (16, 24), (1, 1), (60, 80)])
def test_a_grid_has_what_bilinear_resizing_of_all_pixels_gives(scores, region, grid):
    painted = scores[:, region]
    expected = F.interpolate(painted[None], grid, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(sample_regions(scores, region, grid), expected)


@pytest.mark.parametrize("block", [1, 3 * SIZE[0] * SIZE[1], 1 << 24])
def test_the_best_class_does_not_depend_on_how_many_are_resized_at_once(block, monkeypatch):
    monkeypatch.setattr(region_pixels, "BLOCK", block)
    scores = torch.rand(10, 6, 8, generator=torch.Generator().manual_seed(2))
    resized = F.interpolate(scores[None], SIZE, mode="bilinear", align_corners=False)[0]
    best, label = find_best(scores, SIZE)
    torch.testing.assert_close(best, resized.amax(0))
    torch.testing.assert_close(resized.gather(0, label[None])[0], best)
    assert torch.equal(label, resized.argmax(0))


def test_the_first_of_equal_classes_is_taken(monkeypatch):
    monkeypatch.setattr(region_pixels, "BLOCK", 2 * 4 * 4)
    best, label = find_best(torch.ones(5, 2, 2), (4, 4))
    assert label.eq(0).all()
    assert best.eq(1).all()


PROTOCOLS = {
    "plain": ResolvedProtocol(),
    "contrast": ResolvedProtocol(contrast=0.5),
    "pamr": ResolvedProtocol(refine=RefineParams("pamr", side=16, iterations=2)),
    "both": ResolvedProtocol(refine=RefineParams("pamr", side=16, iterations=2), contrast=0.5),
    "segments": ResolvedProtocol(refine=RefineParams("segments"), contrast=0.5),
    "background": ResolvedProtocol(background=Background("constant", 0.1)),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_model_on_regions_labels_by_its_mask_logits(name, region):
    torch.manual_seed(3)
    model = SegmentMil(SegmentMilConfig(region_width=5, text_width=4, width=6, hidden=8)).eval()
    inputs = replace(
        pixel_inputs(torch.rand(1, 3, *SIZE), SIZE),
        regions=torch.rand(1, 6, 5),
        region_mask=torch.ones(1, 6, dtype=torch.bool),
        labels=region[None],
    )
    classes, protocol = torch.randn(4, 4), PROTOCOLS[name]
    with torch.inference_mode():
        logits = mask_logits(model, inputs, classes, protocol)
        found = label_pixels(model, inputs, classes, protocol)
        labels, scores = label_and_score(model, inputs, classes, protocol)
    best, expected = logits.max(0)
    if name == "background":
        expected[best < 0.1] = -1
    assert torch.equal(found, expected)
    assert torch.equal(labels, expected)
    torch.testing.assert_close(scores, best)
    assert len(found.unique()) > 1


@pytest.mark.parametrize("most", [1 << 27, 4 * 100])
def test_a_model_that_labels_without_logits_has_scores_all_the_same(monkeypatch, region, most):
    """On a coarser grid, if there are too many."""
    monkeypatch.setattr(pixels, "MOST_LOGITS", most)
    torch.manual_seed(3)
    model = SegmentMil(SegmentMilConfig(region_width=5, text_width=4, width=6, hidden=8)).eval()
    plain = SimpleNamespace(  # no ScoresRegions
        config=model.config, segment=model.segment, label=model.label
    )
    inputs = replace(
        pixel_inputs(torch.rand(1, 3, *SIZE), SIZE),
        regions=torch.rand(1, 6, 5),
        region_mask=torch.ones(1, 6, dtype=torch.bool),
        labels=region[None],
    )
    classes, protocol = torch.randn(4, 4), ResolvedProtocol()
    with torch.inference_mode():
        labels, scores = label_and_score(plain, inputs, classes, protocol)
        best, expected = mask_logits(model, inputs, classes, protocol).max(0)
    assert torch.equal(labels, expected)
    assert scores.shape == SIZE
    assert ((scores - best).abs() < 1e-5).float().mean() > (0.7 if most < 1000 else 0.999)


def test_a_shrunken_grid_keeps_its_shape():
    assert pixels.shrink_grid((300, 400), 1 << 20) == (300, 400)
    assert pixels.shrink_grid((300, 400), 1200) == (30, 40)
    assert pixels.shrink_grid((1, 4000), 0) == (1, 1)
