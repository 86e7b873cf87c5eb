"""Files of a folder that cannot be taken: each keeps a row that says why and takes nothing else
with it.
"""

import os
from pathlib import Path

import pytest

from captionseg.sources import folder
from captionseg.sources.folder import Folder
from captionseg.sources.reasons import FAILED_TO_DOWNLOAD, FAILED_TO_RESIZE
from tests.captionseg.sources.conftest import encoded, noise
from tests.captionseg.sources.test_folder import only, put, refused, take


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"this is no picture at all", "cannot be decoded: no known format"),
        (encoded(noise(1))[:900], "cannot be decoded: "),
        (encoded(noise(1, 1, 1)), "too small: 1 x 1 pixels"),
    ],
)
def test_broken_pictures(data: bytes, reason: str, tmp_path: Path) -> None:
    put(tmp_path, "bad.png", data)
    put(tmp_path, "good.png")
    samples = take(tmp_path)
    refused(samples["bad.png"], FAILED_TO_RESIZE, reason)
    assert samples["bad.png"].caption == "a caption"
    assert samples["good.png"].status == "success"


@pytest.mark.parametrize("name", ["a_png.jpg", "a_png.dat", "no_suffix", "A_PNG.JPG", "a_png.heic"])
def test_content_counts_and_not_the_suffix(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)
    assert only(tmp_path).status == "success"


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        (None, "caption missing"),
        ("", "caption is empty"),
        (" \r\n\t\x00 ", "caption is empty"),
        ("\ufeff", "caption is empty"),
        ("café".encode("latin-1"), "caption is not UTF-8"),
        ("a dog".encode("utf-16"), "caption is not UTF-8"),
        (b"\xed\xa0\x80", "caption is not UTF-8"),
        (b"x" * (2**20 + 1), "caption file larger than 1 MiB"),
    ],
)
def test_bad_captions(caption: str | bytes | None, reason: str, tmp_path: Path) -> None:
    put(tmp_path, "a.png", caption=caption)
    refused(only(tmp_path), FAILED_TO_DOWNLOAD, reason)
    assert only(tmp_path).caption == ""


def test_a_caption_without_a_picture_is_not_lost(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "b.txt").write_text("whose picture was not copied")
    samples = take(tmp_path)
    refused(samples["b.txt"], FAILED_TO_DOWNLOAD, "a caption without a picture")
    assert samples["a.png"].status == "success"


def test_what_is_no_picture_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    for name in ("a.json", "notes.md", ".hidden.png", ".git/x.png", "._a.jpg"):
        put(tmp_path, name, b"{}", caption=None)
    assert list(take(tmp_path)) == ["a.png"]


def test_an_empty_file(tmp_path: Path) -> None:
    put(tmp_path, "a.png", b"")
    put(tmp_path, "b.png", b"")
    for sample in take(tmp_path).values():
        refused(sample, FAILED_TO_DOWNLOAD, "empty file")


def test_a_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "LARGEST_PICTURE", 2**20)
    put(tmp_path, "a.png", bytes(2**20 + 1))
    refused(only(tmp_path), FAILED_TO_DOWNLOAD, "file larger than 1 MiB")


def test_duplicates_name_the_first_one(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.jpg", "c.png"):
        put(tmp_path, name, encoded(noise(1)), caption=f"caption of {name}")
    samples = take(tmp_path)
    assert samples["a/z.jpg"].status == "success"
    for name in ("b.png", "c.png"):
        refused(samples[name], FAILED_TO_DOWNLOAD, "duplicate of a/z.jpg")
        assert samples[name].original_sha256 == samples["a/z.jpg"].original_sha256 != ""
        assert samples[name].caption == f"caption of {name}"
    assert len({s.split for s in samples.values()}) == 1


def test_a_copy_of_a_refused_picture_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "a.png", encoded(noise(1)), caption=None)
    put(tmp_path, "b.png", encoded(noise(1)))
    put(tmp_path, "c.png", encoded(noise(1)))
    samples = take(tmp_path)
    refused(samples["a.png"], FAILED_TO_DOWNLOAD, "caption missing")
    assert samples["b.png"].status == "success"
    refused(samples["c.png"], FAILED_TO_DOWNLOAD, "duplicate of b.png")


def test_links(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    put(outside, "secret.png", caption="a secret caption")
    put(root, "real.png")
    put(root, "captioned.png", caption=None)
    for name, target in {
        "escape.png": outside / "secret.png",
        "escape.txt": root / "real.txt",
        "captioned.txt": outside / "secret.txt",
        "x_inside.png": root / "real.png",
        "x_inside.txt": root / "real.txt",
        "broken.png": root / "gone.png",
        "broken.txt": root / "real.txt",
        "loop.png": root / "loop.png",
        "loop.txt": root / "real.txt",
        "folder": outside,
        "self": root,
    }.items():
        (root / name).symlink_to(target)
    samples = take(root)
    refused(samples["escape.png"], FAILED_TO_DOWNLOAD, "symbolic link leads out of the folder")
    refused(
        samples["captioned.png"],
        FAILED_TO_DOWNLOAD,
        "caption symbolic link leads out of the folder",
    )
    refused(samples["x_inside.png"], FAILED_TO_DOWNLOAD, "duplicate of real.png")
    refused(samples["broken.png"], FAILED_TO_DOWNLOAD, "cannot be read: No such file")
    refused(samples["loop.png"], FAILED_TO_DOWNLOAD, "cannot be read: Too many levels")
    refused(samples["folder"], FAILED_TO_DOWNLOAD, "a symbolic link to a folder")
    refused(samples["self"], FAILED_TO_DOWNLOAD, "a symbolic link to a folder")
    assert samples["real.png"].status == "success"
    assert len(samples) == 8
    assert "secret" not in str([s.caption for s in samples.values()])


def test_root_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "real", "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert only(tmp_path / "link").status == "success"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "b.txt").write_text("a caption")
    os.mkfifo(tmp_path / "pipe")
    put(tmp_path, "c.png", caption=None)
    os.mkfifo(tmp_path / "c.txt")
    samples = take(tmp_path)
    refused(samples["b.png"], FAILED_TO_DOWNLOAD, "not a regular file")
    refused(samples["c.png"], FAILED_TO_DOWNLOAD, "caption not a regular file")
    assert set(samples) == {"a.png", "b.png", "c.png"}


def test_unreadable_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patched, because nothing is unreadable to root."""
    put(tmp_path, "a.png")
    put(tmp_path, "b.png")
    put(tmp_path, "locked/c.png")
    real_open, real_scandir = open, os.scandir

    def denied_open(path, *args, **kwargs):
        if str(path).endswith("b.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, *args, **kwargs)

    def denied_scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_scandir(path)

    monkeypatch.setattr("builtins.open", denied_open)
    monkeypatch.setattr(os, "scandir", denied_scandir)
    samples = take(tmp_path)
    refused(samples["b.png"], FAILED_TO_DOWNLOAD, "cannot be read: Permission denied")
    refused(samples["locked"], FAILED_TO_DOWNLOAD, "folder cannot be read: Permission denied")
    assert samples["a.png"].status == "success"
    assert len(samples) == 3


def test_a_file_that_changes_or_goes_while_it_is_read(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    gone = put(tmp_path, "b.png")
    source = Folder(str(tmp_path), tune=0, test=0)
    source.prepare()
    put(tmp_path, "a.png", encoded(noise(99)))
    gone.unlink()
    put(tmp_path, "c.png")
    first, second = source.samples("train", [0, 1], seed=0)
    refused(first, FAILED_TO_DOWNLOAD, "changed while")
    refused(second, FAILED_TO_DOWNLOAD, "cannot be read: No such file")
    assert source.splits()["train"] == 2, "the listing is made once"
