"""gs:// by fsspec's own choice of a package: a gcsfs whose store is in memory, and none at all."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from captionseg.records import UserError
from captionseg.sources.shards import Shards
from captionseg.sources.table import Table
from captionseg.storage.remote import list_entries, list_files, open_store
from tests.captionseg.sources import layouts
from tests.captionseg.sources.taking import take


class GCSFileSystem(MemoryFileSystem):
    """What gcsfs has under this name, in memory."""

    protocol = ("gs", "gcs")
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        bare = re.sub("^gc?s://", "", path)
        return super()._strip_protocol(f"memory://{bare}")


@pytest.fixture(autouse=True)
def no_class_is_kept() -> Iterator[None]:
    """fsspec keeps the classes that it has found."""

    def forget() -> None:
        for scheme in GCSFileSystem.protocol:
            _registry.pop(scheme, None)

    forget()
    yield
    forget()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(sys.modules, "gcsfs", SimpleNamespace(GCSFileSystem=GCSFileSystem))
    yield "gs://pictures"
    GCSFileSystem.store.clear()


def upload(folder: Path, bucket: str) -> None:
    store = fsspec.filesystem("gs")
    for path in folder.rglob("*"):
        if path.is_file():
            store.pipe_file(f"{bucket}/{path.relative_to(folder.parent)}", path.read_bytes())


def test_a_table(bucket: str, tmp_path: Path) -> None:
    """gs:// and gcs:// are one store, and a table in it is what it is on this machine."""
    folder = layouts.write_kaggle(tmp_path / "kaggle", 7)
    upload(folder, bucket)
    assert isinstance(open_store(f"{bucket}/kaggle")[0], GCSFileSystem)
    assert list_entries(f"{bucket}/kaggle") == (["captions.txt"], ["Images"])
    assert list_files("gcs://pictures/*/*.txt") == ["gcs://pictures/kaggle/captions.txt"]
    here, *there = (
        take(Table(path=path))
        for path in (str(folder), f"{bucket}/kaggle", "gcs://pictures/kaggle/captions.txt")
    )
    assert there == [here, here]
    assert [sample.reason for sample in here].count(None) == 5


@pytest.mark.parametrize("form", ["webdataset", "files", "parquet"])
def test_shards(form: str, bucket: str, tmp_path: Path) -> None:
    folder = layouts.write_img2dataset(tmp_path / form, 9, form)
    upload(folder, bucket)
    assert take(Shards(path=f"{bucket}/{form}")) == take(Shards(path=str(folder)))


@pytest.mark.parametrize("source", [Table, Shards])
def test_gcsfs_is_missing(source: type[Table | Shards], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # importing it fails
    with pytest.raises(UserError) as caught:
        source(path="gs://bucket/pictures").prepare()
    assert str(caught.value) == (
        "gs://bucket/pictures: nothing here reads gs://; pip install 'captionseg[gs]'"
    )
