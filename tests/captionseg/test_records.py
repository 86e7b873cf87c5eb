import hashlib

import numpy as np
import pytest

from captionseg.model_inputs import Batch, Inputs, Tokens
from captionseg.records import make_uid, one_line


def test_uid_is_128_bits_of_location_and_caption():
    assert bytes.fromhex(make_uid("x", "a dog")) == hashlib.sha256(b"x\0a dog").digest()[: 128 // 8]
    assert make_uid("xa", " dog") != make_uid("x", "a dog") != make_uid("x", "a cat")


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("a\n b\t c ", "a b c"),
        (ValueError("x\ny"), "x y"),
        ("\x1b[2Jred\x00", "[2Jred"),
        ("é \udc80", "é \\udc80"),
        ("", ""),
        (None, "None"),
    ],
)
def test_what_others_wrote_becomes_one_line(written, line):
    assert one_line(written) == line
    assert len(one_line("word " * 1000)) == 200
    assert one_line("word " * 1000, 10) == "word word "


def test_a_batch_is_mapped_through_the_records_in_it():
    """What is not there stays None, and what is no tensor stays as it is."""
    one, cube = np.ones((2, 1)), np.ones((2, 1, 1))
    number, yes = one.astype(np.int64), one.astype(bool)
    tokens = Tokens(number, cube.astype(np.int64), caption_words=number)
    batch = Batch(cube, yes, one, number, cube, number, number, tokens=tokens)
    found = batch.map(lambda array: array[:1] & True if array.dtype == bool else array[:1] + 1)
    assert found.regions.tolist() == [[[2.0]]]
    assert found.tokens.captions.tolist() == found.tokens.caption_words.tolist() == [[2]]
    assert found.image is found.masked is found.segments is found.tokens.names is None
    assert batch.tokens.captions.tolist() == [[1], [1]]
    inputs = Inputs(cube, yes, cube.astype(np.int64), (3, 4)).map(lambda array: array[:1])
    assert (inputs.size, len(inputs.labels), inputs.masks) == ((3, 4), 1, None)
