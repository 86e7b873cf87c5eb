"""Source coco_captions: annotation files of COCO, and what is wrong with others."""

import gzip
import json
from pathlib import Path

import pytest

from captionseg.records import UserError
from captionseg.sources.coco_captions import CocoCaptions
from tests.captionseg.sources.layouts import BROKEN, GONE, draw, write_coco
from tests.captionseg.sources.taking import outcomes, take


def alone(path: Path, **fields: str) -> CocoCaptions:
    """A source whose rows are all of one split."""
    return CocoCaptions(annotations=str(path), tune=0, test=0, **fields)


def write(folder: Path, **content: object) -> Path:
    """An annotation file beside images 0.jpg to 2.jpg."""
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(draw(number))
    (folder / "captions_x.json").write_text(json.dumps(content))
    return folder / "captions_x.json"


@pytest.mark.parametrize("given", ["found", "images", "gz"])
def test_a_sample_of_coco(given: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path / "coco", 8)
    if given == "gz":
        packed = path.with_name("captions_mini.json.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    source = alone(path, images=str(tmp_path / "coco/mini") if given == "images" else "")
    samples = take(source)
    assert [sample.url for sample in samples] == [f"{number:012d}.jpg" for number in range(8)]
    for number, sample in enumerate(samples):
        assert sample.caption == f"picture {number}, said 0"
        assert len(sample.held_out) == 4
        assert sample.source_row == f"{path.name}:{100 + number}"
    assert {n: sample.reason for n, sample in enumerate(samples) if sample.reason} == {
        BROKEN: "not_decodable",
        GONE: "no_picture",
    }
    lines = source.licences().splitlines()
    assert lines[0] == "picture,licence,licence_url,coco_url,flickr_url"
    assert lines[1] == (
        "000000000000.jpg,Some licence,http://licence.example,"
        "http://images.example/000000000000.jpg,"
    )
    assert len(lines) == 9


@pytest.mark.parametrize("folder", ["annotations/../x", "annotations/x", "images/x", "images", "."])
def test_where_images_are_found(folder: str, tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    path = write(
        tmp_path / "annotations",
        images=[{"id": 1, "file_name": "here.jpg"}],
        annotations=[{"image_id": 1, "caption": "a"}],
    )
    place = tmp_path / folder if folder != "." else path.parent
    place.mkdir(parents=True, exist_ok=True)
    (place / "here.jpg").write_bytes(draw(1))
    assert [sample.reason for sample in take(alone(path))] == [None]


def test_a_hostile_name_does_not_choose_the_folder(tmp_path: Path) -> None:
    """`../up.jpg` is a file from annotations/, where the images are not."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "x").mkdir()
    path = write(
        tmp_path / "annotations",
        images=[{"id": n, "file_name": name} for n, name in enumerate(("../up.jpg", "here.jpg"))],
        annotations=[{"image_id": n, "caption": "a"} for n in range(2)],
    )
    for place in ("up.jpg", "x/here.jpg"):
        (tmp_path / place).write_bytes(draw(1))
    assert outcomes(alone(path)) == {
        "captions_x.json:0": "unsafe_path",
        "captions_x.json:annotation None": "no_picture",
        "captions_x.json:1": None,
    }


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        annotations=[  # in front of the images, as no file of COCO has them
            {"id": 1, "image_id": 0, "caption": "two\nlines <b>x</b>\u0000"},
            {"id": 2, "image_id": 0, "caption": ""},
            {"id": 3, "image_id": 99, "caption": "of no image"},
            {"id": 4, "image_id": [], "caption": "of no image"},
            {"id": 5, "image_id": 2},
            {"id": 6, "image_id": "text", "caption": "of a text"},
            "nothing",
        ],
        images=[
            {"id": 0, "file_name": "0.jpg"},
            {"id": 1, "file_name": "1.jpg"},
            {"id": 2, "file_name": "2.jpg"},
            {"id": 0, "file_name": "1.jpg"},
            {"id": 3, "file_name": "../secret.jpg"},
            {"id": "text", "file_name": "none.jpg"},
            {"id": 4},
            {"id": 5, "file_name": "\ud800.jpg"},
        ],
    )
    samples = take(alone(path))
    assert [(s.source_row.partition(":")[2], s.url, s.caption, s.reason) for s in samples] == [
        ("0", "0.jpg", "two lines x", None),
        ("0", "0.jpg", "", "no_caption"),
        ("1", "1.jpg", "", "no_caption"),
        ("2", "2.jpg", "", "no_caption"),
        ("0", "captions_x.json:0", "", "duplicate_key"),
        ("3", "../secret.jpg", "", "unsafe_path"),
        ("text", "none.jpg", "of a text", "no_picture"),
        ("4", "captions_x.json:4", "", "no_picture"),
        ("5", "\\ud800.jpg", "", "no_picture"),
        ("annotation 3", "captions_x.json:annotation 3", "", "no_picture"),
        ("annotation 4", "captions_x.json:annotation 4", "", "no_picture"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "download.coco_captions.annotations: not set"),
        ({"images": [{"id": 1, "file_name": "no.jpg"}]}, r"first images of .*\(no.jpg\) are not"),
        ({"images": []}, "has no images; give one of COCO's"),
        (
            {
                "images": [{"id": 1, "file_name": "1.jpg"}],
                "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}],
            },
            "has no captions; give one of COCO's",
        ),
        ([1], "has no images; give one of COCO's"),
    ],
)
def test_settings_that_lead_nowhere(content: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        take(alone(path) if content is not None else CocoCaptions())
    assert "\n" not in str(caught.value)


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "coco", 4)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"captions_mini.json: cannot be read \(not valid JSON"):
        alone(path).prepare()


def test_no_licences(tmp_path: Path) -> None:
    path = write(tmp_path, images=[{"id": 0, "file_name": "0.jpg"}], annotations=[])
    assert alone(path).licences() == ""
