"""Files wherever they lie: what is read, and the one line for what is not."""

import errno
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from captionseg.records import UserError
from captionseg.sources.table import Table
from captionseg.storage.remote import (
    MissingFile,
    expand_braces,
    hide_secrets,
    is_file,
    is_folder,
    join,
    list_entries,
    list_files,
    open_file,
    open_plain,
    read_files,
    read_ranges,
)
from tests.captionseg.sources import layouts
from tests.imported_late import import_late

boto3 = import_late("boto3")
moto_server = import_late("moto.server")
s3fs = import_late("s3fs")


def read(url: str) -> bytes:
    with open_file(url) as stream:
        return stream.read()


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder in memory with three files and a subfolder."""
    store = MemoryFileSystem()
    store.pipe(
        {"/box/a.txt": b"one", "/box/b.txt": b"two", "/box/.hid": b"", "/box/in/c.txt": b"3"}
    )
    yield "memory://box"
    store.rm("/box", recursive=True)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A bucket of a store on this machine."""
    server = moto_server().ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    boto3().client("s3").create_bucket(Bucket="pictures")
    yield "s3://pictures"
    s3fs().S3FileSystem.clear_instance_cache()
    server.stop()


def upload(folder: Path, bucket: str) -> None:
    store = fsspec.filesystem("s3")
    for path in folder.rglob("*"):
        if path.is_file():
            store.pipe_file(f"{bucket}/{path.relative_to(folder.parent)}", path.read_bytes())


# ------------------------------------------------------------------------------------------------
# reading and listing


def test_a_store_in_memory(memory: str) -> None:
    assert read("memory://box/a.txt") == b"one"
    assert list_entries(memory) == (["a.txt", "b.txt"], ["in"])
    assert list_files(memory) == ["memory://box/a.txt", "memory://box/b.txt"]
    assert list_files("memory://box/*.txt") == list_files(memory)
    assert list_files("memory://box/{b,a}.txt") == ["memory://box/b.txt", "memory://box/a.txt"]
    assert list_files("memory://*/in/?.txt") == ["memory://box/in/c.txt"]
    assert list_files("memory://box::memory://box/in") == [
        *list_files(memory),
        "memory://box/in/c.txt",
    ]
    assert is_folder(memory)
    assert is_file("memory://box/a.txt")
    assert not is_file(memory)
    found = list(read_files([f"{memory}/a.txt", f"{memory}/none", f"{memory}/b.txt"], 2))
    assert (found[0], found[2]) == (b"one", b"two"), "one byte more than the limit at most"
    assert isinstance(found[1], MissingFile)
    assert list(read_ranges(f"{memory}/a.txt", [(1, 3), (0, 1)])) == [b"ne", b"o"]


def test_files_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.TAR", "a.tar", ".hidden.tar", "c.txt", "sub/d.tar"):
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list_files(".", (".tar",)) == ["./a.tar", "./b.TAR"]
    assert list_files("*.tar") == ["a.tar"]
    assert list_files(f"{tmp_path}/s*/*") == [f"{tmp_path}/sub/d.tar"]
    assert read("a.tar") == read("~/a.tar") == read(f"file://{tmp_path}/a.tar") == b"a.tar"
    assert list(read_ranges("a.tar", [(0, 2)])) == [b"a."]


def test_a_bucket(bucket: str, tmp_path: Path) -> None:
    """A table and its pictures, read from a store, are what they are on this machine."""
    folder = layouts.write_kaggle(tmp_path / "kaggle", 7)
    upload(folder, bucket)
    assert list_entries(f"{bucket}/kaggle") == (["captions.txt"], ["Images"])
    assert list(read_ranges(f"{bucket}/kaggle/captions.txt", [(0, 5), (6, 13)])) == [
        b"image",
        b"caption",
    ]
    found = []
    for path in (str(folder), f"{bucket}/kaggle"):
        source = Table(path=path, tune=0, test=0)
        source.prepare()
        found.append(source.samples("train", range(7), seed=0))
    assert found[0] == found[1]
    assert [sample.reason for sample in found[1]].count(None) == 5


def test_shards_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    from captionseg.sources.shards import Shards

    for form in ("webdataset", "files", "parquet"):
        upload(layouts.write_img2dataset(tmp_path / form, 9, form), bucket)
        found = []
        for path in (str(tmp_path / form), f"{bucket}/{form}"):
            source = Shards(path=path, tune=0, test=0)
            source.prepare()
            found.append(source.samples("train", range(9), seed=0))
        assert found[0] == found[1]


def test_plain_text_of_a_packed_file(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"words"))
    with open_plain(str(tmp_path / "a.txt.gz")) as stream:
        assert stream.read() == b"words"


@pytest.mark.parametrize(
    ("pattern", "first", "count"),
    [
        ("{00000..00012}.tar", "00000.tar", 13),
        ("{8..11}", "8", 4),
        ("{a,b}/{0..2}", "a/0", 6),
        ("plain", "plain", 1),
    ],
)
def test_braces(pattern: str, first: str, count: int) -> None:
    found = expand_braces(pattern)
    assert (found[0], len(found), len(set(found))) == (first, count, count)


def test_join() -> None:
    assert join("s3://b/", "c") == "s3://b/c"
    assert join("/", "c") == "/c"
    assert join("", "c") == "c"


# ------------------------------------------------------------------------------------------------
# one clear line


def one_line_of(call, kind: type[Exception] = UserError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    assert "pip install 'captionseg[s3]'" in one_line_of(lambda: read("s3://bucket/a"))
    assert "pip install 'captionseg[gs]'" in one_line_of(lambda: read("gs://bucket/a"))
    assert "abfs://" in one_line_of(lambda: read("abfs://bucket/a"))


def test_no_such_scheme() -> None:
    assert "nosuch://x: cannot be read" in one_line_of(lambda: read("nosuch://x"))


def test_no_such_file(tmp_path: Path, memory: str, bucket: str) -> None:
    for url in (f"{tmp_path}/none", f"{memory}/none", f"{bucket}/none", "s3://no-bucket/none"):
        for call in (lambda url=url: read(url), lambda url=url: list_files(url)):
            assert one_line_of(call, MissingFile) == f"{url}: no such file or folder"
    assert "no .tar there" in one_line_of(lambda: list_files(memory, (".tar",)), MissingFile)
    one_line_of(lambda: list_files(f"{memory}/*.tar"), MissingFile)


def test_too_many_files() -> None:
    one_line_of(lambda: expand_braces("{0..9999999}"))
    one_line_of(lambda: expand_braces("{0..9999}{0..9999}"))


def test_access_is_refused(monkeypatch: pytest.MonkeyPatch, memory: str) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Access Denied for key somebody")

    monkeypatch.setattr(MemoryFileSystem, "_open", refuse)
    line = one_line_of(lambda: read(f"{memory}/a.txt"))
    assert line == "memory://box/a.txt: access is refused; check permissions or credentials"


def test_no_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs().S3FileSystem.clear_instance_cache()
    assert "no credentials are set for s3://" in one_line_of(lambda: list_files(f"{bucket}/x/*"))


def test_nothing_listens(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs().S3FileSystem.clear_instance_cache()
    assert "s3://pictures/a: cannot be read" in one_line_of(lambda: read(f"{bucket}/a"))


def test_secrets_are_in_no_message() -> None:
    assert hide_secrets("s3://key:secret@bucket/a") == "s3://bucket/a"
    line = hide_secrets("failed for https://host/a.csv?X-Amz-Signature=secret (twice)")
    assert line == "failed for https://host/a.csv?... (twice)"
    for url in ("s3://key:secret@bucket/a.csv", "nosuch://key:secret@host/a?token=secret"):
        assert "secret" not in one_line_of(lambda url=url: read(url))


def test_a_mistake_of_ours_is_no_mistake_of_the_users(memory: str) -> None:
    with pytest.raises(ZeroDivisionError), open_file(f"{memory}/a.txt"):
        raise ZeroDivisionError
