"""Outputs belong to one run at a time, and appear all together or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from captionseg.records import UserError
from captionseg.runtime import outputs


def test_a_lock_is_of_the_place_however_it_is_spelt(tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    (root / "data").mkdir(parents=True)
    monkeypatch.chdir(root)
    name = outputs.name_lock(Path("data/pairs"), Path())
    spelt = ("data/../data/pairs", "./data/pairs", str(root / "data" / "pairs"))
    assert {outputs.name_lock(Path(path), root) for path in spelt} == {name}
    (root / "elsewhere").mkdir()
    (root / "data" / "pairs").symlink_to(root / "elsewhere")  # as DVC links what is in its cache
    assert outputs.name_lock(Path("data/pairs"), Path()) == name
    (root / "link").symlink_to(root / "data")
    assert outputs.name_lock(Path("link/pairs"), Path()) == name
    assert outputs.name_lock(Path("data/truth"), Path()) != name
    assert outputs.name_lock(Path("other/pairs"), Path()) != name
    monkeypatch.chdir(tmp_path)
    root.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert outputs.name_lock(Path("data/pairs"), Path()) == name


def test_locks_are_free_again_and_name_nobody(tmp_path):
    said: list[str] = []
    for _ in range(2):
        with outputs.lock_outputs(
            [tmp_path / "a", tmp_path / "b"], root=tmp_path, say=said.append
        ) as sure:
            assert len(list((tmp_path / ".work" / "locks").glob("*.holder"))) == 2
            sure()
    assert not list((tmp_path / ".work" / "locks").glob("*.holder"))
    assert said == []


def test_a_lock_that_somebody_deleted_is_no_lock(tmp_path):
    with outputs.lock_outputs([tmp_path / "a"], root=tmp_path, say=print) as sure:
        shutil.rmtree(tmp_path / ".work")  # `make clean`
        with pytest.raises(UserError, match=r"was deleted while it ran, .* no output was written"):
            sure()


def test_without_locks_that_is_said(tmp_path, monkeypatch):
    """NFS without a lock daemon: better one line than no run, or a wait for ever."""

    def acquire(self, **_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(outputs.FileLock, "acquire", acquire)
    said: list[str] = []
    with outputs.lock_outputs([tmp_path / "a"], root=tmp_path, say=said.append) as sure:
        sure()
    assert len(said) == 1
    assert "this file system has no locks" in said[0]


def made(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def seen(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def two(tmp_path) -> dict[Path, Path]:
    """A folder and a file that replace older ones."""
    made(tmp_path / "work" / "out", new="1")
    (tmp_path / "work" / "sum.json").write_text("new")
    made(tmp_path / "data" / "out", old="1")
    made(tmp_path / "reports", **{"sum.json": "old"})
    return {
        tmp_path / "work" / "out": tmp_path / "data" / "out",
        tmp_path / "work" / "sum.json": tmp_path / "reports" / "sum.json",
    }


def test_all_outputs_or_none(two, tmp_path, monkeypatch):
    """The second of them cannot be renamed: the first goes back."""
    before, rename = seen(tmp_path), os.rename

    def refuse(source, target):
        if Path(target).name == "sum.json" and Path(source).parent.name == "work":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="Permission denied"):
        outputs.move_all(two)
    assert seen(tmp_path) == before
    monkeypatch.setattr(os, "rename", rename)
    outputs.move_all(two)
    assert seen(tmp_path) == {"data/out/new": "1", "reports/sum.json": "new"}


def test_what_a_killed_run_left_beside_an_output_goes(two, tmp_path):
    made(tmp_path / "data" / ".out.4711.new.part", half="1")
    made(tmp_path / "data" / ".out.4711.part", half="1")
    (tmp_path / "data" / ".out.json.4711.part").write_text("of another output")
    outputs.move_all(two)
    assert sorted(os.listdir(tmp_path / "data")) == [".out.json.4711.part", "out"]


def test_a_full_disk_leaves_what_was_there(two, tmp_path, monkeypatch):
    """The copy beside the place finds no room: nothing is moved, nothing is left of the copy."""
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = Path(tempfile.mkdtemp(dir=other))
    copytree = shutil.copytree

    def full(source, target, **_):
        copytree(source, target)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    try:
        made(folder / "out", old="1")
        places = dict(zip(two, (folder / "out", folder / "sum.json"), strict=True))
        monkeypatch.setattr(shutil, "copytree", full)
        with pytest.raises(OSError, match="No space left"):
            outputs.move_all(places)
        assert seen(folder) == {"out/old": "1"}
        assert os.listdir(folder) == ["out"]
        assert seen(tmp_path / "work") == {"out/new": "1", "sum.json": "new"}, (
            "nothing is made twice"
        )
        monkeypatch.setattr(shutil, "copytree", copytree)
        outputs.move_all(places)
        assert sorted(os.listdir(folder)) == ["out", "sum.json"]
        assert seen(folder) == {"out/new": "1", "sum.json": "new"}
    finally:
        shutil.rmtree(folder)
