"""Source table: where the pictures of a table are, and what is refused."""

import csv
import os
from pathlib import Path

import pytest

from captionseg.records import UserError
from captionseg.sources.table import Table
from tests.captionseg.sources.layouts import BROKEN, GONE, draw, write_image_folder, write_kaggle
from tests.captionseg.sources.taking import reasons, take


def write(folder: Path, *rows: tuple[str, str], name: str = "captions.csv") -> Path:
    """A table with these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "caption"), *rows])
    return folder / name


def alone(path: Path | str, **fields: str) -> Table:
    """A source whose rows are all of one split."""
    return Table(path=str(path), tune=0, test=0, **fields)


@pytest.mark.parametrize("given", ["folder", "file", "images"])
def test_kaggles_flickr(given: str, tmp_path: Path) -> None:
    root = write_kaggle(tmp_path / "flickr", 8)
    path = root if given == "folder" else root / "captions.txt"
    source = alone(path, images=str(root / "Images") if given == "images" else "")
    samples = take(source)
    base = "" if given == "images" else "Images/"
    assert [sample.url for sample in samples] == [f"{base}{number}.jpg" for number in range(8)]
    for number, sample in enumerate(samples):
        assert sample.caption == f"picture {number}, said 0"
        assert sample.held_out == tuple(f"picture {number}, said {n}" for n in range(1, 5))
        assert sample.source_row == f"captions.txt:{2 + 4 * number}"
    assert {sample.url: sample.reason for sample in samples if sample.reason} == {
        f"{base}{BROKEN}.jpg": "not_decodable",
        f"{base}{GONE}.jpg": "no_picture",
    }


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "csv.gz", "jsonl.gz", "parquet.gz"])
def test_image_folders(kind: str, tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "train", 6, kind)
    samples = take(alone(root))
    assert [(sample.url, sample.caption) for sample in samples] == [
        (f"{number}.jpg", f"picture {number}") for number in range(6)
    ]
    assert [sample.reason for sample in samples].count("not_decodable") == 1


def test_several_tables_each_beside_its_pictures(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_image_folder(tmp_path / split, 3, "csv")
    samples = take(alone(f"{tmp_path}/*/metadata.csv"))
    assert [sample.url for sample in samples] == [
        f"{split}/{number}.jpg" for split in ("test", "train") for number in range(3)
    ]
    assert samples[0].source_row == "test/metadata.csv:2"
    assert not any(sample.reason for sample in samples)


def test_captions_of_a_picture(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path / "flickr", 3, captions=3)
    each = take(Table(path=str(root), captions="each", tune=0, test=0))
    assert [(sample.url, sample.caption[-1], sample.held_out) for sample in each] == [
        (f"Images/{number}.jpg", said, ()) for number in range(3) for said in "012"
    ]
    drawn = take(Table(path=str(root), captions="random", tune=0, test=0))
    assert all(len({s.caption, *s.held_out}) == 3 for s in drawn)


def test_names_of_pictures(tmp_path: Path) -> None:
    """Ways in which tables name the same file; the shortest is its URL."""
    inside = tmp_path / "data/in"
    inside.mkdir(parents=True)
    names = ["./in/0.jpg", "in\\1.jpg", "in//x/../2.jpg", str(inside / "4.jpg"), "in/6.jpg#3"]
    for number in (0, 1, 2, 4, 6):
        (inside / f"{number}.jpg").write_bytes(draw(number))
    found = take(alone(write(tmp_path / "data", *((name, f"of {name}") for name in names))))
    assert [(sample.url, sample.reason) for sample in found] == [
        (f"in/{number}.jpg", None) for number in (0, 1, 2, 4, 6)
    ]


def test_whole_paths_beside_a_table_of_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, (str(tmp_path / "1.jpg"), "a"))
    (tmp_path / "1.jpg").write_bytes(draw(1))
    monkeypatch.chdir(tmp_path)
    assert reasons(alone("captions.csv")) == {"1.jpg": None}


def test_a_suffix_that_the_table_leaves_out(tmp_path: Path) -> None:
    table = write(tmp_path / "data", ("0", "a"), ("1.jpg", "b"))
    for number in (0, 1):
        (tmp_path / f"data/{number}.jpg").write_bytes(draw(number))
    assert reasons(alone(table, suffix=".jpg")) == {"0.jpg": None, "1.jpg": None}


def test_paths_that_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(draw(0))
    bad = ["../secret.jpg", "a/../../secret.jpg", str(tmp_path / "secret.jpg"), "C:\\secret.jpg"]
    bad += ["http://x/y.jpg", f"file://{tmp_path}/secret.jpg", "..", "s3://b/c.jpg"]
    rows = [(name, f"of {name}") for name in bad]
    table = write(tmp_path / "data", ("1.jpg", "good"), ("link.jpg", "link"), *rows)
    (tmp_path / "data/1.jpg").write_bytes(draw(1))
    (tmp_path / "data/link.jpg").symlink_to("../secret.jpg")
    found = reasons(alone(table))
    assert found.pop("1.jpg") is None
    assert set(found.values()) == {"unsafe_path"}
    assert len(found) == 1 + len(bad)


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    names = ["0.jpg", "empty.jpg", "pipe.jpg", "folder.jpg", "none.jpg", "nul\0.jpg", "page.jpg"]
    table = write(folder, *((name, f"of {name}") for name in names))
    (folder / "0.jpg").write_bytes(draw(0))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_text("<html>not found</html>")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    assert list(reasons(alone(table)).values()) == [
        None,
        "empty",
        "unreadable_file",
        "unreadable_file",
        "no_picture",
        "unsafe_path",
        "not_decodable",
    ]


def test_one_corrupt_picture_in_a_hundred(tmp_path: Path) -> None:
    """It keeps its row, and nothing else changes."""
    folder = tmp_path / "data"
    rows = [(f"{n}.jpg", f"picture {n}") for n in range(100, 300)]
    table = write(folder, *rows)
    for name, _ in rows:
        (folder / name).write_bytes(draw(int(name[:3])))
    before = take(alone(table))
    for number, cut in ((150, 300), (250, 20)):
        data = draw(number)
        (folder / f"{number}.jpg").write_bytes(data[:cut])
    after = take(alone(table))
    different = [(b, a) for b, a in zip(before, after, strict=True) if a != b]
    assert {(a.url, a.reason) for _, a in different} == {
        ("150.jpg", "not_decodable"),
        ("250.jpg", "not_decodable"),
    }
    assert all((a.caption, a.source_row) == (b.caption, b.source_row) for b, a in different)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "download.table.path: not set"),
        ("none.csv", "no such file"),
        ("empty", "holds no table; give the file"),
        ("two", r"holds several tables \(captions.csv, captions.jsonl\)"),
        ("lost/captions.csv", r"\(7.jpg\) are neither beside it .* set download.table.images"),
    ],
)
def test_settings_that_lead_nowhere(
    path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "two", ("1.jpg", "a"))
    (tmp_path / "two/captions.jsonl").touch()
    write(tmp_path / "lost", ("7.jpg", "a"))
    (tmp_path / "lost/pictures").mkdir()
    with pytest.raises(UserError, match=message) as caught:
        alone(path).prepare()
    assert "\n" not in str(caught.value)


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_kaggle(tmp_path / "flickr", 3)
    monkeypatch.chdir(tmp_path / "flickr")
    for path in ("captions.txt", ".", "../flickr"):
        assert [sample.reason for sample in take(alone(path))] == [None] * 3
