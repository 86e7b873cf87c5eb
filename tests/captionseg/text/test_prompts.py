import numpy as np
import pytest

from captionseg import remarks
from captionseg.records import UserError
from captionseg.text.prompts import PROMPTS, SIMPLE, embed_classes, read_templates


def test_mean_over_templates_then_normalised():
    table = {"a dog": [1.0, 0.0], "the dog": [0.0, 1.0], "a cat": [0.6, 0.8], "the cat": [0.6, 0.8]}
    out = embed_classes(
        ["dog", "cat"], lambda texts: np.array([table[t] for t in texts]), ("a {}", "the {}")
    )
    np.testing.assert_allclose(out, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], rtol=1e-6)
    assert out.dtype == np.float32


def test_embeddings_that_cancel_do_not_divide_by_zero():
    out = embed_classes(["dog"], lambda texts: np.array([[1.0], [-1.0]]), ("a {}", "b {}"))
    assert out.tolist() == [[0.0]]


def test_the_paper_prompt_has_its_full_stop():
    asked = []
    embed_classes(["grass"], lambda texts: asked.extend(texts) or np.ones((1, 2)), SIMPLE)
    assert asked == ["a photo of a grass."]


@pytest.mark.parametrize(
    ("name", "count"), [("simple", 1), ("segment", 4), ("tcl", 9), ("imagenet", 80)]
)
def test_each_template_has_one_gap(name, count):
    assert name in PROMPTS
    assert len(set(read_templates(name))) == count
    assert all(template.count("{}") == 1 for template in read_templates(name))


def test_a_set_that_is_not_there_is_one_line():
    with pytest.raises(
        UserError, match=r"prompts: 'simpel' is not valid \(valid: simple, segment, tcl, imagenet\)"
    ):
        read_templates("simpel")


def embed(texts):
    """Of a reader of lower-case ASCII, to which all else is the same."""
    known = [text.lower().encode("ascii", "replace") for text in texts]
    rows = np.array([np.bincount(list(text), minlength=128) for text in known], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_names_that_an_encoder_cannot_tell_apart_are_said(caplog):
    remarks.forget()
    for _ in range(2):
        embed_classes(["zebra", "dog", "Zebra", "ZEBRA", "dog"], embed)
    assert caplog.messages == [
        "the text encoder cannot distinguish 'zebra' from 'Zebra', and 1 more such pairs, so "
        "one of them is never predicted"
    ]


def test_a_name_that_an_encoder_does_not_know_is_said(caplog):
    remarks.forget()
    embed_classes(["zebra", "\U0001f993"], embed)
    embed_classes(["42", "caf\u00e9"], embed)
    assert caplog.messages == [
        "the text encoder knows no character of '\U0001f993', so scores of such names are "
        "meaningless"
    ]
