"""What every member of GROUNDERS must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from captionseg.grounding.concept_detector import ConceptDetector
from captionseg.grounding.grounder import Boxes, Query
from captionseg.grounding.grounders import GROUNDERS
from captionseg.grounding.grounding_dino import GroundingDino, GroundingDinoGrounder
from captionseg.segment_text.params import NONE, SegmentTextParams

CAPTION = "A dog sits on the grass."
PHRASES = ["A dog", "the grass", "sky", ""]
QUERY = Query(CAPTION, (((0, 5),), ((14, 23),), (), ()))
SHAPES = [(24, 40, 3), (40, 24, 3), (1, 12, 3)]


class Space:
    """A joint space in which each text and each cell has a direction of its own."""

    def encode(self, texts):
        return np.random.default_rng(len("".join(texts))).normal(size=(len(texts), 3))

    def project_dense(self, dense):
        return dense


@pytest.fixture(scope="module", params=GROUNDERS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def grounder(name, model, tokenizer, processor, owlv2_folder, tiny_sam3) -> Any:
    """With every box that there is; a member without an entry here has no test of all must do."""
    if name == "grounding_dino":
        return GroundingDinoGrounder(model, tokenizer, processor, GroundingDino(threshold=0.0))
    settings: dict[str, dict[str, Any]] = {
        "relevance": {"threshold": 0.0},
        "precomputed": {},
        "owlv2": {"checkpoint": owlv2_folder, "threshold": 0.0, "device": "cpu"},
        "sam3": {"checkpoint": tiny_sam3, "threshold": 0.0, "device": "cpu"},
    }
    cells = np.random.default_rng(0).normal(size=(20, 3))
    return GROUNDERS[name](**settings[name]).build(Space(), cells)


def ask(grounder: Any, shape: tuple[int, ...], phrases: list[str], query: Query | None) -> Boxes:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    return grounder.boxes(image, phrases, dense=rng.normal(size=(4, 4, 3)), query=query)


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_lie_in_the_picture_in_the_order_of_phrases_and_scores(name, grounder, shape):
    found = ask(grounder, shape, PHRASES, QUERY)
    assert len(found) == len(found.phrase) == len(found.score)
    assert (found.boxes.dtype, found.phrase.dtype, found.score.dtype) == (
        np.float32,
        np.int32,
        np.float32,
    )
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [shape[1], shape[0]] * 2).all()
    assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
    assert (np.diff(found.phrase) >= 0).all()
    assert np.isin(found.phrase, [0, 1, 2] if name != "relevance" else [0, 1, 2, 3]).all()
    assert ((found.score >= 0) & (found.score <= 1)).all()
    of_one = found.score[found.phrase == 0]
    assert (np.diff(of_one) <= 0).all() or name == "relevance"  # by the mass of their cells
    if shape[0] > 1:  # boxes of the small OWLv2 all lie in the padding of a picture of one row
        assert (len(found) > 0) == (name != "precomputed")
    assert (found.masks is not None) == GROUNDERS[name].makes_masks
    if found.masks is not None and found.stability is not None:
        assert found.masks.shape == (len(found), *shape[:2])
        assert ((found.stability >= 0) & (found.stability <= 1)).all()


def test_the_same_is_found_again_and_nothing_for_no_phrase(name, grounder):
    grounder.prepare(PHRASES[:3])
    first, second = (ask(grounder, SHAPES[0], PHRASES[:3], None) for _ in range(2))
    assert np.array_equal(first.boxes, second.boxes)
    assert np.array_equal(first.score, second.score)
    for query in (None, Query(CAPTION, ())):
        assert not len(ask(grounder, SHAPES[0], [], query))


def test_a_grounder_with_masks_of_its_own_and_no_other_goes_without_a_segmenter(name):
    fits = {True: NONE, False: "superpixels"}
    made = GROUNDERS[name].makes_masks
    params = SegmentTextParams(grounder=name, segmenter=fits[made])
    assert list(params.members) == [name, *(() if made else ("superpixels",))]
    with pytest.raises(ValueError, match=r"^segmenter: "):
        SegmentTextParams(grounder=name, segmenter=fits[not made])


@pytest.mark.parametrize("method", ["embed_image", "image_embedder"])
def test_a_picture_is_embedded_once_for_all_of_its_captions(
    method, owlv2_folder, tiny_sam3, monkeypatch
):
    if method == "embed_image":
        grounder: Any = GROUNDERS["sam3"](tiny_sam3, device="cpu").build()
        owner: Any = ConceptDetector
    else:
        grounder = GROUNDERS["owlv2"](owlv2_folder, device="cpu").build()
        owner = type(grounder.model)
    embed, seen = getattr(owner, method), []
    monkeypatch.setattr(owner, method, lambda self, one: seen.append(1) or embed(self, one))
    first, second = (np.full(SHAPES[0], value, np.uint8) for value in (0, 255))
    for image in (first, first, second, second, first):
        grounder.boxes(image, PHRASES)
    assert len(seen) == 3
