"""Source shards: img2dataset's three forms, any webdataset, and what is damaged."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionseg.records import UserError
from captionseg.sources.sharded.img2dataset_table import explain_failure
from captionseg.sources.shards import Shards
from tests.captionseg.sources.conftest import encoded, noise
from tests.captionseg.sources.layouts import BROKEN, GONE, draw, write_img2dataset, write_webdataset
from tests.captionseg.sources.taking import take


def alone(path: Path | str, **fields: str) -> Shards:
    """A source whose rows are all of one split."""
    return Shards(path=str(path), tune=0, test=0, **fields)


@pytest.fixture(params=["webdataset", "files", "parquet"])
def form(request: pytest.FixtureRequest) -> str:
    """A form of img2dataset's output."""
    return request.param


# ------------------------------------------------------------------------------------------------
# img2dataset's


def test_nothing_of_img2datasets_rows_is_lost(form: str, tmp_path: Path) -> None:
    samples = take(alone(write_img2dataset(tmp_path / "out", 20, form)))
    end = {"webdataset": ".tar", "files": "", "parquet": ".parquet"}[form]
    assert [sample.url for sample in samples] == [
        f"http://images.example/{number}.jpg" for number in range(20)
    ]
    for number, sample in enumerate(samples):
        assert sample.caption == f"picture {number}"
        shard = f"{number // 8:05d}"
        assert sample.source_row == f"{shard}{end}:{shard}{number:04d}"
        if number not in (BROKEN, GONE):
            assert sample.jpeg == draw(number), "byte for byte"
            assert (sample.original_width, sample.original_height) == (400, 300)
            assert sample.original_sha256 == f"{number:064x}"
    broken, gone = samples[BROKEN], samples[GONE]
    assert (broken.status, broken.reason) == ("failed_to_resize", "not_decodable")
    assert (gone.status, gone.reason) == ("failed_to_download", "not_found")
    assert gone.error == "HTTP Error 404: Not Found"


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_patterns(form: str, tmp_path: Path) -> None:
    root = write_img2dataset(tmp_path / "out", 20, form)
    end = {"webdataset": ".tar", "parquet": ".parquet"}[form]
    for pattern, count in (
        (f"{root}/{{00000..00001}}{end}", 16),
        (f"{root}/*{end}", 20),
        (f"{root}/00002{end}::{root}/00000{end}", 12),
    ):
        assert len(take(alone(pattern))) == count
    with pytest.raises(UserError, match=f"00003{end}: no such file"):
        alone(f"{root}/{{00000..00003}}{end}").prepare()


def test_a_url_that_several_samples_have_is_one_picture(form: str, tmp_path: Path) -> None:
    """img2dataset repeats a picture once per caption."""
    root = write_img2dataset(tmp_path / "out", 8, form)
    table = pq.read_table(root / "00000.parquet").to_pylist()
    for row in table:
        row["url"] = "http://images.example/same.jpg"
    pq.write_table(pa.Table.from_pylist(table), root / "00000.parquet")
    good, refused = take(alone(root))
    assert good.caption == "picture 0"
    assert good.held_out == tuple(f"picture {n}" for n in (1, 2, 3, 4, 6, 7))
    assert good.jpeg == draw(0)
    assert (refused.caption, refused.reason) == ("", "not_found")


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_a_table_without_shard_and_a_shard_without_table(form: str, tmp_path: Path) -> None:
    root = write_img2dataset(tmp_path / "out", 20, form)
    (root / "00000.parquet").unlink()
    gone = "00001.tar" if form == "webdataset" else "00001"
    (root / gone).rename(tmp_path / "moved")
    found = {sample.url: sample for sample in take(alone(root))}
    assert found.pop(gone).reason == "damaged_archive"
    assert list(found) == [f"http://images.example/{n}.jpg" for n in range(20) if n != GONE], (
        "what failed was in the table alone"
    )
    reasons = [sample.reason for sample in found.values()]
    assert reasons[:3] == [None, None, None]
    assert reasons[7:] == ["damaged_archive"] * 8 + [None] * 4
    first = next(iter(found.values()))
    assert first.original_width == 400, "as the json of the sample has it"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("HTTP Error 404: Not Found", "not_found"),
        ("HTTP Error 410: Gone", "not_found"),
        ("HTTP Error 403: Forbidden", "forbidden"),
        ("HTTP Error 429: Too Many Requests", "rate_limited"),
        ("HTTP Error 503: Service Unavailable", "server_error"),
        ("HTTP Error 400: Bad Request", "http_error"),
        ("<urlopen error [Errno -2] Name or service not known>", "unknown_host"),
        ("<urlopen error [Errno 111] Connection refused>", "connection_failed"),
        (
            "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>",
            "tls_failed",
        ),
        ("The read operation timed out", "timed_out"),
        ("Use of image disallowed by X-Robots-Tag directive", "opted_out"),
        ("unknown url type: 'x.jpg'", "bad_url"),
        ("Image decoding error", "not_decodable"),
        ("image too small", "too_small"),
        ("IncompleteRead(3 bytes read, 9 more expected)", "truncated"),
        ("something else", "other"),
        (None, "other"),
    ],
)
def test_reasons_of_img2datasets_messages(message: str | None, reason: str) -> None:
    found = explain_failure({"status": "failed_to_download", "error_message": message})
    assert found is not None
    assert found.reason == reason
    assert explain_failure({"status": "success", "error_message": None}) is None


# ------------------------------------------------------------------------------------------------
# any webdataset


def test_any_webdataset(tmp_path: Path) -> None:
    def meta(**fields: object) -> bytes:
        return json.dumps(fields).encode()

    write_webdataset(
        tmp_path / "a.tar",
        {
            "in/x": {"PNG": encoded(noise(1)), "txt": b"of a text", "cls": b"3"},
            "y": {"webp": encoded(noise(2), "WEBP"), "json": meta(text="of a json")},
            "z": {"jpg": draw(4), "json": meta(captions=["one", "two"], url="http://x/z")},
            "dots": {"v1.seg.png": b"", "jpg": draw(6), "txt": b"a caption\nof two lines"},
            "features": {"npy": b"1"},
            "__meta__": {"txt": b"of webdataset itself"},
            ".hidden": {"jpg": draw(7)},
        },
    )
    found = {s.source_row: (s.url, s.caption, s.held_out, s.reason) for s in take(alone(tmp_path))}
    assert found == {
        "a.tar:in/x": ("a.tar:in/x", "of a text", (), None),
        "a.tar:y": ("a.tar:y", "of a json", (), None),
        "a.tar:z": ("http://x/z", "one", ("two",), None),
        "a.tar:dots": ("a.tar:dots", "a caption of two lines", (), None),
    }
    (lines,) = [s for s in take(alone(tmp_path, caption_lines="separate")) if s.url == "a.tar:dots"]
    assert (lines.caption, lines.held_out) == ("a caption", ("of two lines",))


def test_captions_of_a_list_that_are_refused(tmp_path: Path) -> None:
    data = json.dumps({"captions": ["good", 3, None]}).encode()
    write_webdataset(tmp_path / "a.tar", {"x": {"jpg": draw(1), "json": data}})
    good, refused = take(alone(tmp_path))
    assert (good.caption, good.reason) == ("good", None)
    assert (refused.caption, refused.reason) == ("", "bad_caption")
    assert refused.error == "caption is no text but int (2 of 3 captions)"


def test_captions_under_another_name(tmp_path: Path) -> None:
    data = json.dumps({"alt": "what is meant", "caption": "another"}).encode()
    write_webdataset(tmp_path / "a.tar", {"x": {"jpg": draw(1), "json": data}})
    assert [s.caption for s in take(alone(tmp_path, caption_column="alt"))] == ["what is meant"]


def test_tables_of_hugging_face(tmp_path: Path) -> None:
    images = [{"bytes": draw(n), "path": f"{n}.jpg"} for n in range(3)]
    rows = [{"image": image, "text": [f"said {n}", "twice"]} for n, image in enumerate(images)]
    rows.append({"image": None, "text": ["none"]})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=2)
    samples = take(alone(tmp_path / "a.parquet"))
    assert [(s.source_row, s.caption, s.held_out, s.reason) for s in samples] == [
        ("a.parquet:1", "said 0", ("twice",), None),
        ("a.parquet:2", "said 1", ("twice",), None),
        ("a.parquet:3", "said 2", ("twice",), None),
        ("a.parquet:4", "none", (), "no_picture"),
    ]
    assert [s.jpeg for s in samples[:3]] == [draw(n) for n in range(3)]


def test_what_is_taken_byte_for_byte(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    write_webdataset(
        tmp_path / "a.tar",
        {
            "plain": {"jpg": draw(1), "txt": b"a"},
            "large": {"jpg": encoded(noise(2, 90, 60), "JPEG"), "txt": b"a"},
            "turned": {"jpg": encoded(noise(4), "JPEG", exif=turned), "txt": b"a"},
            "grey": {"jpg": encoded(noise(6).convert("L"), "JPEG"), "txt": b"a"},
            "png": {"png": encoded(noise(7)), "txt": b"a"},
        },
    )
    data = {}
    with tarfile.open(tmp_path / "a.tar") as tar:
        for member in tar:
            stream = tar.extractfile(member)
            data[member.name.split(".")[0]] = stream.read() if "txt" not in member.name else b""
    samples = {s.source_row.split(":")[1]: s for s in take(alone(tmp_path, max_side=64))}
    assert samples["plain"].jpeg == draw(1)
    for name, size in (
        ("large", (64, 43)),
        ("turned", (30, 40)),
        ("grey", (40, 30)),
        ("png", (40, 30)),
    ):
        image = Image.open(io.BytesIO(samples[name].jpeg))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size)
        assert samples[name].jpeg != data[name]
