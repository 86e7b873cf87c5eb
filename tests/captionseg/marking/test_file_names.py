import pyarrow as pa
import pytest

from captionseg.marking.file_names import FileNames, is_file_name
from tests.captionseg.marking.rows import captions_of, marked

NAMES = [
    "IMG_1234.jpg",
    "IMG_1234",
    "img 20190412 153012",
    "DSC00012",
    "DSCN0042.JPG",
    "_DSC1234",
    "P1010001",
    "PXL_20210304_123456789",
    "IMG-20200101-WA0003",
    "IMG_0001 (2)",
    "IMG_0001-edited",
    "Screenshot 2020-01-01",
    "red-barn-in-winter.jpeg",
    "my dog.png",
    "20190412_153012",
    "12345",
    "550e8400-e29b-41d4-a716-446655440000",
    "d41d8cd98f00b204e9800998ecf8427e",
]
CAPTIONS = [
    "a red barn",
    "IMG_1234 is a barn",
    "facade",
    "decade of beaded facades",
    "p 1 of the book",
    "photo of a dog",
    "the file dog.jpg on a screen",
    "Boeing 747",
    "scan of page 12 in colour",
    "route 66",
    "2 dogs",
    "",
]


@pytest.mark.parametrize("text", NAMES)
def test_names(text):
    assert is_file_name(pa.array([text])).tolist() == [True]


@pytest.mark.parametrize("text", CAPTIONS)
def test_captions(text):
    assert is_file_name(pa.array([text])).tolist() == [False]


def test_the_reason_quotes_it():
    rows = captions_of("a dog", " IMG_1.jpg ")
    assert marked(FileNames(), rows) == {
        1: ("caption_file_name", "the caption is a file's name: 'IMG_1.jpg'", -1)
    }
