import numpy as np
import pyarrow as pa

from captionseg.marking.language import Language, share_ascii, share_function_words
from tests.captionseg.marking.rows import captions_of, marked


def test_share_of_ascii_letters():
    text = pa.array(["A red barn, 1942!", "café", "красный", "123 ...", "", "naïve né"])
    np.testing.assert_allclose(share_ascii(text), [1, 3 / 4, 0, 0, 0, 5 / 7])


def test_share_of_function_words():
    text = pa.array(
        ["The dog is on the mat", "red barn", "", "don't of", "OF; the", "often theatre"]
    )
    np.testing.assert_allclose(share_function_words(text), [4 / 6, 0, 0, 1 / 2, 1, 0])


def test_what_is_marked():
    rows = captions_of("a dog", "собака на траве", "ein Hund im Gras", "12 34")
    assert {r: reason for r, (_, reason, _) in marked(Language(), rows).items()} == {
        1: "0% of the caption's letters are a to z",
        3: "0% of the caption's letters are a to z",
    }
    found = marked(Language(min_ascii=0, min_function_words=0.2), rows)
    assert sorted(found) == [1, 2, 3]
    assert found[2][1] == "0% of the caption's words are function words of English"
    assert marked(Language(min_ascii=0), rows) == {}
