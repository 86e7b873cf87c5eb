"""Grounding DINO: choice and assignment on logits written by hand, the text's traps on a small
random model.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig

from captionseg.grounding.box_phrases import best_words, match_mentions, to_pixels
from captionseg.grounding.grounder import Query
from captionseg.grounding.grounders import GROUNDERS
from captionseg.grounding.grounding_dino import GroundingDino, GroundingDinoGrounder
from captionseg.grounding.pieces import cut_into_pieces
from captionseg.records import UserError

CAPTION = "A dog sits on the grass."
QUERY = Query(CAPTION, (((0, 5),), ((14, 23),)))  # "A dog", "the grass"
DOG, SITS, GRASS, END = 2, 3, 6, 7  # tokens: [CLS] a dog sits on the grass . [SEP]
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)


@pytest.fixture
def grounder(model, tokenizer, processor) -> GroundingDinoGrounder:
    return GroundingDinoGrounder(model, tokenizer, processor, GroundingDino(threshold=0.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model, tokenizer, processor):
    path = tmp_path_factory.mktemp("grounding_dino")
    for part in (model, tokenizer, processor):
        part.save_pretrained(path)
    return path


class Scripted:
    """A model that gives box i `scores[i]` = {token: logit} and place `boxes[i]`, whatever it is
    shown.
    """

    device = torch.device("cpu")

    def __init__(self, scores, boxes, max_text_len=256):
        self.scores, self.places = scores, torch.tensor(boxes)
        self.config = SimpleNamespace(max_text_len=max_text_len)
        self.asked: list[list[int]] = []

    def __call__(self, pixel_values, input_ids, attention_mask, **_):
        self.asked += input_ids.tolist()
        logits = torch.full(
            (len(input_ids), len(self.scores), self.config.max_text_len), -torch.inf
        )
        logits[:, :, : input_ids.shape[1]] = torch.where(attention_mask.bool(), -9.0, -torch.inf)[
            :, None
        ]
        for box, row in enumerate(self.scores):
            for token, logit in row.items():
                logits[:, box, token] = logit
        return SimpleNamespace(logits=logits, pred_boxes=self.places.expand(len(input_ids), -1, -1))


@pytest.fixture
def scripted(tokenizer, processor):
    """A grounder of such a model."""

    def make(scores, boxes=None, *, max_text_len=256, **params) -> GroundingDinoGrounder:
        boxes = boxes or [[0.1 + 0.2 * i, 0.5, 0.1, 0.5] for i in range(len(scores))]
        return GroundingDinoGrounder(
            Scripted(scores, boxes, max_text_len), tokenizer, processor, GroundingDino(**params)
        )

    return make


def test_the_best_token_of_a_box_tells_its_phrase_and_the_score_is_its_own(scripted):
    found = scripted([{GRASS: 1.0}, {DOG: 2.0, GRASS: 1.9}, {1: 0.0}]).ground([IMAGE], [QUERY])[0]
    # labels do not mix, though two phrases of box 1 are above the threshold
    assert found.phrase.tolist() == [0, 0, 1]
    assert found.score == pytest.approx(1 / (1 + np.exp([-2.0, 0.0, -1.0])))
    # centres .3 .1 .5 of 80 pixels, width 8; height 20 of 40
    assert found.boxes == pytest.approx(
        np.array([[20, 10, 28, 30], [36, 10, 44, 30], [4, 10, 12, 30]]), abs=1e-4
    )
    assert (found.boxes.dtype, found.phrase.dtype, found.score.dtype) == (
        np.float32,
        np.int32,
        np.float32,
    )


@pytest.mark.parametrize("token", [0, END, 8])
def test_what_is_no_word_cannot_be_the_best_token(scripted, token):
    found = scripted([{token: 8.0, DOG: 1.0}, {token: 8.0}]).ground([IMAGE], [QUERY])[0]
    assert found.phrase.tolist() == [0]
    assert found.score == pytest.approx([1 / (1 + np.exp(-1.0))])
    assert found.unassigned == 0


def test_a_box_of_no_phrase_is_dropped_and_counted(scripted):
    found = scripted([{SITS: 3.0}, {DOG: 1.0}, {SITS: -4.0}]).ground([IMAGE], [QUERY])[0]
    assert found.phrase.tolist() == [0]
    assert found.unassigned == 1  # the third is below the threshold: sigmoid(-4) = .018


def test_near_boxes_of_a_mention_are_one_and_those_of_two_are_two(scripted):
    # IoU .8 and .9 with the first
    near = [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.4], [0.5, 0.5, 0.5, 0.45]]
    scores = [{DOG: 1.0}, {DOG: 2.0}, {GRASS: 3.0}]
    found = scripted(scores, near).ground([IMAGE], [QUERY])[0]
    assert found.phrase.tolist() == [0, 1]
    assert found.boxes[0] == pytest.approx([20, 12, 60, 28])
    assert scripted(scores, near, nms="agnostic").ground([IMAGE], [QUERY])[0].phrase.tolist() == [1]
    assert scripted(scores, near, nms_iou=0.85).ground([IMAGE], [QUERY])[0].phrase.tolist() == [
        0,
        0,
        1,
    ]
    twice = Query(CAPTION, (((0, 5), (14, 23)),))  # one phrase, mentioned twice
    assert scripted(scores, near).ground([IMAGE], [twice])[0].phrase.tolist() == [0, 0]


def test_boxes_end_where_the_picture_does():
    corners = to_pixels(np.array([[0.1, 0.9, 0.4, 0.4]], np.float32), IMAGE)
    assert corners == pytest.approx(np.array([[0, 28, 24, 40]]), abs=1e-4)


def test_best_words_by_hand():
    logits = np.array([[9, 0, 1, 9], [9, -1, -2, 9], [9, 5, 5, -np.inf]], np.float32)
    box, token, score = best_words(logits, np.array([False, True, True]), 0.3)
    assert box.tolist() == [0, 2]  # sigmoid(-1) = .27
    assert token.tolist() == [2, 1]
    assert score == pytest.approx([0.7310586, 0.9933071])


def test_the_shortest_span_that_covers_a_word_has_it():
    places = np.array([[2, 5], [9, 12], [6, 8], [-1, -1], [4, 7]])
    phrase, mention = match_mentions(places, [[(0, 20), (30, 40)], [(0, 5)], [(9, 12)]])
    assert phrase.tolist() == [1, 2, 0, -1, 0]
    assert mention.tolist() == [2, 3, 0, -1, 0]
    assert match_mentions(places, [[], []])[0].tolist() == [-1] * 5


def test_phrases_without_a_query_are_sentences_of_one_text(scripted):
    grounder = scripted([{2: 1.0}, {4: 2.0}])  # [CLS] a dog . sky . [SEP]
    found = grounder.boxes(IMAGE, ["a dog", "sky"])
    assert found.phrase.tolist() == [0, 1]
    assert grounder.model.asked == [grounder.tokenizer("a dog. sky.")["input_ids"]]
    assert not len(scripted([{}]).boxes(IMAGE, []))


def test_phrases_that_the_caption_lacks_are_asked_apart(scripted):
    # token 2: "dog" of the caption, "blue" of "sky blue"
    grounder = scripted([{2: 1.0}, {1: 3.0}], batch=1)
    phrases = ["the grass", "sky blue", "A dog"]
    found = grounder.boxes(IMAGE, phrases, query=Query(CAPTION, (((14, 23),), (), ((0, 5),))))
    assert grounder.model.asked == [
        grounder.tokenizer(text)["input_ids"] for text in (CAPTION, "sky blue.")
    ]
    assert found.phrase.tolist() == [1, 1, 2, 2]
    assert found.score == pytest.approx(1 / (1 + np.exp([-3.0, -1.0, -3.0, -1.0])))
    with pytest.raises(ValueError, match="spans of 2 phrases for 3"):
        grounder.boxes(IMAGE, phrases, query=QUERY)


def test_long_captions_are_asked_in_pieces_whose_words_keep_their_places(scripted):
    # pieces of two and of one sentence: [CLS] a dog . a cat . [SEP], [CLS] a cow . [SEP]
    text = "A dog. A cat. A cow."
    query = Query(text, (((0, 5),), ((7, 12),), ((14, 19),)))
    grounder = scripted([{2: 1.0}], max_text_len=10, batch=8)
    found = grounder.ground([IMAGE], [query])[0]
    assert len(grounder.model.asked) == 2
    assert found.phrase.tolist() == [0, 2]
    assert found.cut == 1
    assert grounder.ground([IMAGE], [Query("A dog. A cat.", (((0, 5),), ()))])[0].cut == 0
    assert (
        grounder.boxes(
            IMAGE, ["A dog", "A cat", "A cow", "sky"], query=Query(text, (*query.spans, ()))
        ).cut
        == 1
    )


def test_many_pictures_come_back_in_their_order(scripted):
    tall = np.zeros((80, 40, 3), np.uint8)
    other = Query("The grass.", ((), ((0, 9),)))
    found = scripted([{2: 1.0}]).ground([tall, IMAGE, tall], [QUERY, QUERY, other])
    assert [f.phrase.tolist() for f in found] == [[0], [0], [1]]
    assert found[0].boxes == pytest.approx(np.array([[2, 20, 6, 60]]), abs=1e-4)
    assert found[1].boxes == pytest.approx(np.array([[4, 10, 12, 30]]), abs=1e-4)


# what follows is about the model itself


def features(model, ids: list[int]) -> torch.Tensor:
    """The text backbone's states as the model makes them, [T, 16]."""
    seen = []
    hook = model.model.text_backbone.register_forward_hook(
        lambda *a: seen.append(a[2].last_hidden_state[0])
    )
    with torch.inference_mode():
        model(pixel_values=torch.zeros(1, 3, 64, 128), input_ids=torch.tensor([ids]))
    hook.remove()
    return seen[0]


# the small model itself has no room for a square
@pytest.mark.parametrize("shape", [(5, 10, 3), (1, 10, 3)])
def test_a_picture_of_ten_pixels(grounder, shape):
    found = grounder.boxes(np.zeros(shape, np.uint8), ["A dog", "the grass"], query=QUERY)
    assert len(found)
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= shape[1::-1]).all()


def test_a_caption_of_three_thousand_words(grounder):
    caption = "A dog sits on the grass. " * 500
    spans = tuple(
        tuple((25 * i + a, 25 * i + b) for i in range(500)) for a, b in ((0, 5), (14, 23))
    )
    found = grounder.boxes(IMAGE, ["A dog", "the grass"], query=Query(caption, spans))
    assert set(found.phrase.tolist()) <= {0, 1}
    # of each of 14 pieces up to twelve, less those that are near others
    assert len(found) + found.unassigned >= 12
    assert found.cut == 1


def test_without_a_last_period_words_would_not_see_each_other(model, tokenizer, grounder):
    cat, fox = (
        features(model, tokenizer(text)["input_ids"]) for text in ("a big cat", "a big fox")
    )
    assert torch.equal(cat[2], fox[2])  # the trap: "big" knows nothing of what is big
    ours = [
        features(model, cut_into_pieces(tokenizer, text, 256)[0].ids.tolist())
        for text in ("a big cat", "a big fox")
    ]
    assert not torch.allclose(ours[0][2], ours[1][2], atol=1e-3)
    with_, without = (
        grounder.ground([IMAGE], [Query(t, (((0, 9),),))])[0] for t in ("a big cat.", "a big cat")
    )
    assert len(with_) > 0
    assert np.array_equal(with_.boxes, without.boxes)
    assert np.array_equal(with_.score, without.score)


def test_a_cut_between_sentences_changes_nothing_that_the_text_encoder_sees(model, tokenizer):
    whole = features(
        model, cut_into_pieces(tokenizer, "a red fox runs. a cat?", 256)[0].ids.tolist()
    )
    first, second = (
        features(model, piece.ids.tolist())
        for piece in cut_into_pieces(tokenizer, "a red fox runs. a cat?", 8)
    )
    assert torch.allclose(whole[1:6], first[1:6], atol=1e-5)
    assert torch.allclose(whole[6:9], second[1:4], atol=1e-5)


def test_more_than_256_tokens_would_break_the_model_and_do_not(model, tokenizer, processor):
    text = "a red fox runs over a hill. " * 45
    ids = tokenizer(text, verbose=False)["input_ids"]
    assert len(ids) == 8 * 45 + 2
    with pytest.raises(RuntimeError, match="256"):
        features(model, ids)
    grounder = GroundingDinoGrounder(
        model, tokenizer, processor, GroundingDino(threshold=0.0, nms_iou=1.0)
    )
    found = grounder.ground([IMAGE], [Query(text, (((0, len(text)),),))])[0]
    assert len(found) == 24  # all 12 boxes of each of two pieces


def test_batches_change_nothing(model, tokenizer, processor):
    texts = ["a cat", "a red fox runs over the hill. a dog sits", "grass", "a cat on a mat"]
    sides = [(40, 80), (80, 40), (40, 80), (40, 80)]
    images = [
        np.random.default_rng(i).integers(0, 256, (*s, 3), dtype=np.uint8)
        for i, s in enumerate(sides)
    ]
    queries = [Query(text, (((0, len(text)),),)) for text in texts]
    one, four = (
        GroundingDinoGrounder(
            model, tokenizer, processor, GroundingDino(threshold=0.0, batch=n)
        ).ground(images, queries)
        for n in (1, 4)
    )
    for a, b in zip(one, four, strict=True):
        assert len(a) == len(b) > 0
        assert a.boxes == pytest.approx(b.boxes, abs=1e-3)
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_captions_without_a_period_are_not_merged(model, grounder, monkeypatch):
    seen = []
    monkeypatch.setattr(
        grounder,
        "forward",
        lambda images, texts: (
            seen.append(texts)
            or (
                np.zeros((len(texts), 1, 9), np.float32),
                np.full((len(texts), 1, 4), 0.5, np.float32),
            )
        ),
    )
    found = grounder.ground(
        [IMAGE, IMAGE], [Query("a cat on a mat", (((0, 5),),)), Query("a dog", (((0, 5),),))]
    )
    assert [[len(text.ids) for text in batch] for batch in seen] == [[8, 5]]
    assert [len(f) for f in found] == [1, 1]


def test_a_saved_model_loads_whole_and_finds_the_same(folder, grounder):
    loaded = GROUNDERS["grounding_dino"](str(folder), threshold=0.0, device="cpu").build(None, None)
    ours, theirs = (g.boxes(IMAGE, ["A dog", "the grass"], query=QUERY) for g in (grounder, loaded))
    assert len(ours) > 0
    assert ours.boxes == pytest.approx(theirs.boxes, abs=1e-4)
    assert ours.score == pytest.approx(theirs.score, abs=1e-5)


def refused(path) -> str:
    with pytest.raises(UserError, match=r"segment_text\.grounding_dino\.checkpoint") as caught:
        GroundingDino(str(path)).build()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copied(folder, target, *, without=()):
    target.mkdir()
    for file in folder.iterdir():
        if file.name not in without:
            (target / file.name).write_bytes(file.read_bytes())
    return target


def test_a_name_is_not_looked_up_anywhere():
    assert "no config.json in 'IDEA-Research/grounding-dino-tiny'" in refused(
        "IDEA-Research/grounding-dino-tiny"
    )
    assert "give a local folder" in refused("")


def test_a_pickle_is_not_read(folder, tmp_path, model):
    path = copied(folder, tmp_path / "pickled", without=["model.safetensors"])
    torch.save(model.state_dict(), path / "pytorch_model.bin")
    assert "does not load" in refused(path)


def test_a_part_of_the_weights_another_model_and_other_word_pieces_are_one_line_each(
    folder, tmp_path
):
    part = copied(folder, tmp_path / "part")
    tensors = load_file(part / "model.safetensors")
    lost = next(name for name in sorted(tensors) if name.startswith("model.text_projection"))
    save_file(
        {k: v for k, v in tensors.items() if k != lost},
        part / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert f"lacks 1 tensors, such as {lost}" in refused(part)

    nan = copied(folder, tmp_path / "nan")
    tensors = load_file(nan / "model.safetensors")
    name = next(
        key for key, tensor in tensors.items() if tensor.is_floating_point() and tensor.ndim == 2
    )
    tensors[name][0, 0] = torch.nan
    save_file(tensors, nan / "model.safetensors", metadata={"format": "pt"})
    assert "contains NaN" in refused(nan)

    other = copied(folder, tmp_path / "other")
    (other / "config.json").write_text(
        BertConfig(hidden_size=16, num_attention_heads=2).to_json_string()
    )
    assert "does not load as a Grounding DINO" in refused(other)

    foreign = copied(folder, tmp_path / "foreign")
    words = json.loads((foreign / "tokenizer.json").read_text())
    words["model"]["vocab"] |= {
        ".": words["model"]["vocab"][","],
        ",": words["model"]["vocab"]["."],
    }
    (foreign / "tokenizer.json").write_text(json.dumps(words))
    assert "has . as 1010, the model as 1012" in refused(foreign)
