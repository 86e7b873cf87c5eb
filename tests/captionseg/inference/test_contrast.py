"""Contrast of labels within a picture: by hand, and through a loaded model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from captionseg.inference.contrast import contrast_labels
from captionseg.inference.labelling import Labeller
from captionseg.inference.predictor import Predictor
from captionseg.inference.protocols import PROTOCOLS, ScoringOptions, merge_with_preset
from captionseg.inference.windows import Protocol
from captionseg.records import UserError

LABELS = ["dog", "grass", "water"]


def test_by_hand():
    """The first label fits all of the picture a little; half of its mean is taken."""
    logits = torch.tensor([[[0.4, 0.6, 0.5, 0.5]], [[0.1, 0.1, 0.45, 0.15]]])
    assert logits.argmax(0).tolist() == [[0, 0, 0, 0]]
    found = contrast_labels(logits, 0.5)
    expected = torch.tensor([[[0.15, 0.35, 0.25, 0.25]], [[0.0, 0.0, 0.35, 0.05]]])
    torch.testing.assert_close(found, expected)
    assert found.argmax(0).tolist() == [[0, 0, 1, 0]]
    assert contrast_labels(logits, 0.0) is logits
    # all of it: an offset of a label makes no difference
    shifted = logits + torch.tensor([3.0, -2.0])[:, None, None]
    torch.testing.assert_close(contrast_labels(shifted, 1.0), contrast_labels(logits, 1.0))


def test_a_predictor_labels_by_what_is_left(regions):
    picture = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    plain = Predictor.load(regions, device="cpu")
    logits = torch.from_numpy(plain.logits(picture, LABELS))
    for share in (0.5, 1.0):
        found = plain.with_contrast(share)
        expected = contrast_labels(logits, share)
        np.testing.assert_allclose(found.logits(picture, LABELS), expected.numpy(), atol=1e-6)
        np.testing.assert_array_equal(found.segment(picture, LABELS), expected.argmax(0).numpy())
        asked = Predictor.load(regions, device="cpu", protocol=Protocol(contrast=share))
        assert asked.protocol == found.protocol
    assert (found.segment(picture, LABELS) != plain.segment(picture, LABELS)).any()
    np.testing.assert_array_equal(
        plain.with_contrast(0.0).segment(picture, LABELS), plain.segment(picture, LABELS)
    )


def test_it_is_said_in_results_and_a_background_score_is_refused(regions):
    options = ScoringOptions(Protocol(contrast=0.25), device="cpu")
    assert Labeller.load(regions, options, names=LABELS).description["contrast"] == 0.25
    assert "contrast" not in Labeller.load(regions, ScoringOptions(), names=LABELS).description
    with_background = replace(options, background=0.4)
    with pytest.raises(UserError, match=r"contrast: 0\.25 shifts the scores that the background"):
        Labeller.load(regions, with_background, names=["background", *LABELS])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_is_asked_stays_beside_a_paper_s_protocol(name):
    assert merge_with_preset(name, Protocol(contrast=0.25)).contrast == 0.25
    assert merge_with_preset(name, Protocol()).contrast == 0
