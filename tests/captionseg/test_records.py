import hashlib

import numpy as np
import pytest

from captionseg.records import Batch, Inputs, Tokens, make_uid, one_line


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
    one = np.ones((2, 1))
    batch = Batch(one, one, one, one, one, one, one, tokens=Tokens(one, one, caption_words=one))
    found = batch.map(lambda array: array[:1] + 1)
    assert found.regions.tolist() == found.tokens.captions.tolist() == [[2.0]]
    assert found.tokens.caption_words.tolist() == [[2.0]]
    assert found.image is found.masked is found.segments is found.tokens.names is None
    assert batch.tokens.captions.tolist() == [[1.0], [1.0]]
    inputs = Inputs(one, one, one, (3, 4)).map(lambda array: array[:1])
    assert (inputs.size, len(inputs.labels), inputs.masks) == ((3, 4), 1, None)
