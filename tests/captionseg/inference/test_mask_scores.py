"""From masks to pixels: by hand, against loops, and against regions where masks do not overlap."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captionseg.inference import mask_scores as module
from captionseg.inference.mask_scores import label_from_masks, score_from_masks
from captionseg.inference.pixels import label_pixels, mask_logits
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import ResolvedProtocol
from captionseg.model_inputs import Inputs
from captionseg.modeling.readout.regions import get_masks, make_region_masks
from captionseg.modeling.segmenter import InputSpec
from captionseg.modeling.use import Use
from captionseg.modeling.use_config import UseConfig
from captionseg.prepared import without_regions
from captionseg.segmenters.mask_makers import MasksParams


class Scores:
    """A model that gives masks the scores that it was told; the last ones are those of the whole
    picture.
    """

    class config:
        reads = InputSpec(dense=True, segments=1)

    def __init__(self, *scores: list[float]) -> None:
        self.scores = torch.tensor(scores)

    def mask_scores(self, inputs: Inputs, classes: torch.Tensor) -> torch.Tensor:
        assert inputs.masks is not None
        assert inputs.masks.shape[1] == len(self.scores)
        assert inputs.masks[:, -1].all()
        return self.scores[None]


def given(masks: list, size: tuple[int, int]) -> Inputs:
    return replace(without_regions(1, size), masks=torch.tensor(masks, dtype=torch.bool)[None])


MASKS = [[[1, 1, 1, 0, 0]], [[1, 0, 0, 1, 0]], [[1, 0, 1, 0, 0]]]  # the last pixel is in none
NET = Scores([0.4, 0.3, 0.3], [0.2, 0.7, 0.1], [0.3, 0.1, 0.6], [0.1, 0.2, 0.7])
CLASSES = torch.zeros(3, 2)


def test_scores_of_all_masks_of_a_pixel_are_added() -> None:
    found = score_from_masks(NET, given(MASKS, (1, 5)), CLASSES, MasksParams())
    expected = [[0.9, 1.1, 1.0], [0.4, 0.3, 0.3], [0.7, 0.4, 0.9], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]]
    torch.testing.assert_close(found, torch.tensor(expected).T[:, None])
    assert label_from_masks(NET, given(MASKS, (1, 5)), CLASSES, MasksParams()).tolist() == [
        [1, 0, 2, 1, 2]
    ]


def test_or_the_largest_taken() -> None:
    params = MasksParams(aggregate="max")
    found = score_from_masks(NET, given(MASKS, (1, 5)), CLASSES, params)
    expected = [[0.4, 0.7, 0.6], [0.4, 0.3, 0.3], [0.4, 0.3, 0.6], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]]
    torch.testing.assert_close(found, torch.tensor(expected).T[:, None])


def test_without_a_mask_the_picture_is_one_segment() -> None:
    inputs = replace(without_regions(1, (4, 6)), masks=torch.zeros(1, 0, 2, 3, dtype=torch.bool))
    assert (label_from_masks(Scores([0.2, 0.5, 0.3]), inputs, CLASSES, MasksParams()) == 1).all()


@pytest.mark.parametrize("how", ["sum", "max"])
@pytest.mark.parametrize("size", [(6, 7), (13, 20)])
def test_against_loops(how: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    masks, scores = torch.rand(4, 6, 7, generator=g) > 0.6, torch.rand(5, 3, generator=g)
    net, inputs = Scores(*scores.tolist()), given(masks.tolist(), size)
    expected = torch.empty(3, *size)
    for y in range(size[0]):
        for x in range(size[1]):
            row, column = int((y + 0.5) * 6 / size[0]), int((x + 0.5) * 7 / size[1])
            over = [m for m in range(4) if masks[m, row, column]] or [4]
            every = scores[over]
            expected[:, y, x] = every.sum(0) if how == "sum" else every.max(0).values
    params = MasksParams(aggregate=how)
    torch.testing.assert_close(score_from_masks(net, inputs, CLASSES, params), expected)
    whole = label_from_masks(net, inputs, CLASSES, params)
    assert torch.equal(whole, expected.argmax(0))
    monkeypatch.setattr(module, "BLOCK", 5)
    assert torch.equal(label_from_masks(net, inputs, CLASSES, params), whole)


def use(**changes) -> Use:
    torch.manual_seed(0)
    return Use(UseConfig(towers=((5,),), text_width=6, **changes)).eval()


def regions() -> Inputs:
    labels = torch.arange(36).view(1, 6, 6) * 4 // 36
    blank = without_regions(1, (9, 13))
    return replace(
        blank,
        regions=torch.zeros(1, 4, 0),
        labels=labels,
        region_mask=torch.ones(1, 4, dtype=torch.bool),
        dense=torch.randn(1, 3, 4, 5),
    )


def test_masks_that_are_the_regions_make_the_labels_of_regions() -> None:
    net, inputs, classes = use(), regions(), torch.randn(5, 6)
    masked = replace(inputs, masks=make_region_masks(inputs.labels, 4))
    assert torch.equal(get_masks(inputs), get_masks(masked))
    plain = label_pixels(net, inputs, classes, ResolvedProtocol())
    assert torch.equal(label_pixels(net, masked, classes, ResolvedProtocol()), plain)
    torch.testing.assert_close(
        mask_logits(net, masked, classes, ResolvedProtocol()),
        use(score="softmax").segment(inputs, classes)[0],
    )
    assert len(plain.unique()) > 1


def test_masks_are_refined_like_any_logits() -> None:
    net, inputs, classes = use(), regions(), torch.randn(5, 6)
    top = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    top[:, :, :2] = True
    masked = replace(inputs, masks=top)
    found = label_pixels(net, masked, classes, ResolvedProtocol(refine=RefineParams("segments")))
    for region in range(4):
        assert len(found[_large(inputs.labels)[0] == region].unique()) == 1


def _large(labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(labels[None].float(), (9, 13), mode="nearest-exact")[
        0
    ].long()


def test_padding_changes_nothing() -> None:
    net, inputs, classes = use(), regions(), torch.randn(5, 6)
    masks = torch.rand(1, 3, 6, 6) > 0.5
    padded = torch.cat([masks, torch.zeros(1, 2, 6, 6, dtype=torch.bool)], 1)
    for head in (score_from_masks, label_from_masks):
        one, two = (
            head(net, replace(inputs, masks=m), classes, MasksParams()) for m in (masks, padded)
        )
        torch.testing.assert_close(one, two)
