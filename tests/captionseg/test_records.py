import hashlib

import pytest

from captionseg.records import one_line, uid_of


def test_uid_is_128_bits_of_location_and_caption():
    assert bytes.fromhex(uid_of("x", "a dog")) == hashlib.sha256(b"x\0a dog").digest()[: 128 // 8]
    assert uid_of("xa", " dog") != uid_of("x", "a dog") != uid_of("x", "a cat")


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
