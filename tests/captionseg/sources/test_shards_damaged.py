"""Source shards: a damaged shard costs what is damaged, and nothing else changes."""

import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.records import UserError
from captionseg.sources.shards import Shards
from tests.captionseg.sources.layouts import (
    GONE,
    draw,
    write_img2dataset,
    write_tar,
    write_webdataset,
)
from tests.captionseg.sources.taking import outcomes, take


def alone(path: Path | str) -> Shards:
    """A source whose rows are all of one split."""
    return Shards(path=str(path), tune=0, test=0)


def test_damaged_tables(tmp_path: Path) -> None:
    """Beside a tar they are passed over; of pictures they are lost, and the other shards are
    not."""
    root = write_img2dataset(tmp_path / "out", 12, "webdataset")
    (root / "00000.parquet").write_bytes(b"PAR1")
    found = outcomes(alone(root))
    assert found.pop("00000.tar:table") == "damaged_archive"
    assert len(found) == 7 + 4
    root = write_img2dataset(tmp_path / "pictures", 12, "parquet")
    (root / "00000.parquet").write_bytes((root / "00000.parquet").read_bytes()[:-40])
    found = outcomes(alone(root))
    assert found.pop("00000.parquet") == "damaged_archive"
    assert len(found) == 4


def test_a_sample_that_the_table_has_and_the_tar_has_not(tmp_path: Path) -> None:
    root = write_img2dataset(tmp_path / "out", 8, "webdataset")
    files = [(f"000000007.{end}", b"x") for end in ("jpg", "txt")]
    write_tar(root / "00000.tar", [*files, ("extra.jpg", draw(1)), ("extra.txt", b"more")])
    found = outcomes(alone(root))
    assert list(found.values()) == [
        *["damaged_archive"] * GONE,
        "not_found",
        "damaged_archive",
        "not_decodable",
        None,
    ]


def test_samples_that_cannot_be_used(tmp_path: Path) -> None:
    good = {"jpg": draw(1), "txt": b"good"}
    files = [
        ("a.jpg", draw(1)),
        ("a.txt", b"two\nlines <b>x</b>\0"),
        ("b.jpg", draw(2)),
        ("c.txt", b"no picture"),
        ("d.jpg", draw(4)),
        ("d.txt", b"caf\xe9"),
        ("e.jpg", draw(6)),
        ("e.json", b"no json"),
        ("a.jpg", draw(7)),
        ("../up.jpg", draw(8)),
        ("/etc/abs.jpg", draw(9)),
        ("in/../../up.txt", b"up"),
        ("f.jpg", b"no picture"),
        ("g.jpg", b""),
        ("g.txt", b"empty"),
        *((f"last.{end}", data) for end, data in good.items()),
    ]
    write_tar(tmp_path / "a.tar", files)
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert outcomes(alone(tmp_path)) == {
        "a.tar:a": None,
        "a.tar:b": "no_caption",
        "a.tar:c": "no_picture",
        "a.tar:d": "bad_caption",
        "a.tar:e": "no_caption",
        "a.tar:f": "no_caption",
        "a.tar:g": "empty",
        "a.tar:last": None,
        "a.tar:a.jpg": "duplicate_key",
        "a.tar:../up.jpg": "unsafe_path",
        "a.tar:/etc/abs.jpg": "unsafe_path",
        "a.tar:in/../../up.txt": "unsafe_path",
        "a.tar:link.jpg": "unreadable_file",
    }
    assert take(alone(tmp_path))[0].caption == "two lines x"


def test_files_that_are_no_text(tmp_path: Path) -> None:
    """Pipes are not waited for, and links do not lead out."""
    root = write_img2dataset(tmp_path / "out", 4, "files")
    (root / "00000.parquet").rename(tmp_path / "moved.parquet")
    (tmp_path / "secret.txt").write_text("a secret")
    for number, put in enumerate((os.mkfifo, lambda path: path.symlink_to("../../secret.txt"))):
        for end in ("txt", "json"):
            path = root / "00000" / f"00000000{number}.{end}"
            path.unlink()
            put(path)
    assert outcomes(alone(root)) == {
        "00000:000000000": "unreadable_file",
        "00000:000000001": "unsafe_path",
        "00000:000000002": None,
        "00000:000000003": "not_decodable",
    }


def test_rows_of_one_key(tmp_path: Path) -> None:
    root = write_img2dataset(tmp_path / "out", 3, "webdataset")
    rows = pq.read_table(root / "00000.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([*rows, rows[1]]), root / "00000.parquet")
    samples = take(alone(root))
    assert [sample.reason for sample in samples] == [None, None, None, "duplicate_key"]


@pytest.mark.parametrize("table", [True, False])
def test_a_truncated_tar_keeps_what_is_before(table: bool, tmp_path: Path) -> None:
    root = write_img2dataset(tmp_path / "out", 12, "webdataset")
    if not table:
        (root / "00000.parquet").unlink()
    path = root / "00000.tar"
    with tarfile.open(path) as tar:
        at = {member.name: member.offset_data for member in tar}
    path.write_bytes(path.read_bytes()[: at["000000002.jpg"] + 100])
    found = outcomes(alone(root))
    assert found.pop("00000.tar") == "damaged_archive"
    assert [found.pop(f"00000.tar:00000000{n}") for n in (0, 1)] == [None, None]
    assert [found.pop(f"00001.tar:00001000{n}", 0) for n in (8, 9)] == [None, None]
    lost = {row: reason for row, reason in found.items() if row.startswith("00000")}
    assert set(lost.values()) == ({"damaged_archive", "not_found"} if table else set())


@pytest.mark.parametrize("cut", ["nothing", "end", "head", "junk", "empty", "picture"])
def test_damaged_tars(cut: str, tmp_path: Path) -> None:
    """Each is one row more, and nothing of the other shards changes."""
    for name in ("a", "b"):
        samples = {f"{n}": {"jpg": draw(n), "txt": b"a"} for n in (1, 2)}
        write_webdataset(tmp_path / f"{name}.tar", samples)
    path = tmp_path / "a.tar"
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        second, end = tar.getmember("2.jpg"), tar.getmembers()[-1]
    path.write_bytes(
        {
            "nothing": data,
            "end": data[: end.offset_data + 512],
            "head": data[: second.offset] + b"x" * 512 + data[second.offset + 512 :],
            "junk": b"junk" * 1000,
            "empty": b"",
            "picture": data[: second.offset_data + 200] + bytes(len(data)),
        }[cut]
    )
    found = outcomes(alone(tmp_path))
    assert {row: reason for row, reason in found.items() if row.startswith("b.tar")} == {
        "b.tar:1": None,
        "b.tar:2": None,
    }
    assert {row[6:]: reason for row, reason in found.items() if row.startswith("a.tar")} == {
        "nothing": {"1": None, "2": None},
        "end": {"1": None, "2": None, "": "damaged_archive"},
        "head": {"1": None, "": "damaged_archive"},
        "junk": {"": "damaged_archive"},
        "empty": {"": "damaged_archive"},
        "picture": {"1": None, "2": "no_caption"},
    }[cut]


def test_a_size_below_zero_is_not_read_for_ever(tmp_path: Path) -> None:
    write_webdataset(tmp_path / "a.tar", {str(n): {"jpg": draw(n), "txt": b"a"} for n in (1, 2)})
    with tarfile.open(tmp_path / "a.tar") as tar:
        second = tar.getmember("2.jpg")
        head = bytearray(second.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = (2**96 - 1024).to_bytes(12, "big")  # -1024, as GNU's tar writes it
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[second.offset : second.offset + 512] = head
    (tmp_path / "a.tar").write_bytes(data)
    assert outcomes(alone(tmp_path)) == {"a.tar:1": None, "a.tar": "damaged_archive"}


def test_one_corrupt_picture_in_a_hundred(tmp_path: Path) -> None:
    samples = {f"{n:03d}": {"jpg": draw(n + 10), "txt": b"a"} for n in range(200)}
    write_webdataset(tmp_path / "a.tar", samples)
    before = take(alone(tmp_path))
    for number in (50, 150):
        samples[f"{number:03d}"]["jpg"] = draw(number + 10)[:200]
    write_webdataset(tmp_path / "a.tar", samples)
    after = take(alone(tmp_path))
    different = [a for b, a in zip(before, after, strict=True) if a != b]
    assert [(s.source_row, s.reason) for s in different] == [
        ("a.tar:050", "not_decodable"),
        ("a.tar:150", "not_decodable"),
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "download.shards.path: not set"),
        ("none", "none: no such file or folder"),
        ("empty", "holds no shard"),
        ("links.parquet", "has no column of pictures; source urls reads URLs"),
    ],
)
def test_settings_that_lead_nowhere(
    path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    pq.write_table(pa.table({"url": ["http://x/1"], "text": ["a"]}), "links.parquet")
    with pytest.raises(UserError, match=message) as caught:
        alone(path).prepare()
    assert "\n" not in str(caught.value)
