"""What a damaged or hostile tar cannot do."""

import hashlib
import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionseg.datasets.shard_images import read_images
from captionseg.records import PAIRS, UserError
from tests.captionseg.datasets.test_download import write


@pytest.fixture
def shard(given, picture, tmp_path: Path) -> Path:
    """Folder pairs/ with one shard of three good pictures, their keys 000000000 to 000000002."""
    write(given(*(picture(i) for i in range(3))), tmp_path)
    return tmp_path / "pairs"


def repack(
    pairs: Path, change: dict[str, bytes | tarfile.TarInfo | None], *, rehash: bool = False
) -> None:
    """Rewrite the tar: a member replaced by bytes or by a special member, None leaves it out; new
    ones are added.
    """
    path, members = pairs / "00000.tar", {}
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            members[member.name] = tar.extractfile(member).read()
    members |= change
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            elif content is not None:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    if rehash:
        rows = pq.read_table(pairs / "00000.parquet").to_pylist()
        for row in rows:
            row["sha256"] = hashlib.sha256(members[f"{row['key']}.jpg"]).hexdigest()
        pq.write_table(pa.Table.from_pylist(rows, schema=PAIRS), pairs / "00000.parquet")


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def jpeg(colour: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "rehash", "reason"),
    [
        (jpeg(), False, "sha256 differs"),
        (None, False, "missing"),
        (b"\xff\xd8\xff no picture", True, "does not decode"),
        (jpeg()[:400], True, "does not decode"),
        (special("000000001.jpg", tarfile.SYMTYPE, "/etc/passwd"), False, "missing"),
        (special("000000001.jpg", tarfile.LNKTYPE, "000000000.jpg"), False, "missing"),
        (special("000000001.jpg", tarfile.CHRTYPE), False, "missing"),
        (special("000000001.jpg", tarfile.FIFOTYPE), False, "missing"),
        (special("000000001.jpg", tarfile.DIRTYPE), False, "missing"),
    ],
)
def test_a_damaged_picture_is_named(shard: Path, content, rehash: bool, reason: str) -> None:
    repack(shard, {"000000001.jpg": content}, rehash=rehash)
    images = read_images(shard, "00000")
    next(images)
    with pytest.raises(UserError, match=rf"00000\.tar: 000000001\.jpg .*{reason}") as caught:
        next(images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "gone", "compressed"])
def test_a_damaged_tar_is_named(shard: Path, damage: str) -> None:
    path = shard / "00000.tar"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {
                "cut": data[:700],
                "garbage": b"x" * 2000,
                "empty": b"",
                "compressed": b"\x1f\x8b\x08" + data,
            }[damage]
        )
    with pytest.raises(UserError, match=r"00000\.tar: "):
        list(read_images(shard, "00000"))


def test_a_hostile_tar_touches_nothing(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members are looked up by name and read in memory; nothing is ever unpacked."""
    good = [image for _, image in read_images(shard, "00000")]
    repack(
        shard,
        {
            "../evil.jpg": jpeg(),
            "/tmp/captionseg_evil.jpg": jpeg(),
            "x/../../../evil.txt": b"x",
            "link": special("link", tarfile.SYMTYPE, str(tmp_path)),
            "link/evil.jpg": jpeg(),
            "device": special("device", tarfile.CHRTYPE),
            "pipe": special("pipe", tarfile.FIFOTYPE),
            "hard": special("hard", tarfile.LNKTYPE, "/etc/passwd"),
            "\udcff.jpg": jpeg(),
        },
    )
    inside = tmp_path / "cwd"
    inside.mkdir()
    monkeypatch.chdir(inside)
    before = sorted(p for p in tmp_path.rglob("*"))
    assert all((a == b).all() for a, (_, b) in zip(good, read_images(shard, "00000"), strict=True))
    assert sorted(p for p in tmp_path.rglob("*")) == before
    assert not Path("/tmp/captionseg_evil.jpg").exists()


def test_a_picture_that_says_it_is_huge(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"000000000\.jpg does not decode: .*bomb"):
        list(read_images(shard, "00000"))
