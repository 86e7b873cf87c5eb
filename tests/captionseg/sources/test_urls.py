"""Lists of URLs: as people keep them, and what becomes of each row at a hostile server."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import logging
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_pairs
from captionseg.datasets.shard_images import read_images
from captionseg.records import UserError
from captionseg.runtime.params import RuntimeParams
from captionseg.sources.fetching.params import HttpParams
from captionseg.sources.urls import Urls
from tests.captionseg.sources.fetching.hostile import GOOD, HERE, UNHURRIED, serving

QUICK = HttpParams(
    connect_timeout=5.0,
    read_timeout=4.0,  # a busy machine may keep a server waiting for seconds
    total_timeout=60.0,
    min_speed=500.0,
    patience=4.0,
    retries=0,
    backoff=0.05,
    max_megabytes=1.0,
    allow=(f"{HERE}/32",),
)
"""For lists with pictures that never come."""
PATIENT = dataclasses.replace(QUICK, **UNHURRIED)
CAPTIONS = ["a dog", 'a "red" bus, in town', "two cats"]


def list_rows(path: Path, **settings) -> list[tuple[str, list[str], str]]:
    source = Urls(path=str(path), **settings)
    table = pa.Table.from_batches(source.list_batches())
    return [
        (row["picture"], row["captions"], row["source_row"])
        for row in table.to_pylist()
        if row["error"] is None
    ]


def urls(count: int = 3, base: str = "http://pictures.example") -> list[str]:
    return [f"{base}/good/{number}.jpg" for number in range(count)]


def write_table(path: Path, columns: tuple[str, str] = ("url", "caption")) -> Path:
    """The three pairs in the form that the name says."""
    rows = [dict(zip(columns, pair)) for pair in zip(urls(), CAPTIONS)]
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if name.endswith(".jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    elif name.endswith(".json"):
        text = json.dumps(rows)
    else:
        between = "," if name.endswith(".csv") else "\t"
        quoted = [
            f'"{caption.replace(chr(34), chr(34) * 2)}"' if between == "," else caption
            for caption in CAPTIONS
        ]
        lines = [columns, *zip(urls(), quoted)]
        text = "".join(between.join(line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("end", ["csv", "tsv", "txt", "json", "jsonl", "parquet", "csv.gz"])
def test_any_form(end: str, tmp_path: Path) -> None:
    found = list_rows(write_table(tmp_path / f"list.{end}"))
    assert [(url, captions) for url, captions, _ in found] == [
        (url, [caption]) for url, caption in zip(urls(), CAPTIONS)
    ]
    assert all(row.startswith(f"list.{end}:") for _, _, row in found)


def test_columns_by_name(tmp_path: Path) -> None:
    path = write_table(tmp_path / "list.csv", ("address", "alt"))
    found = list_rows(path, picture_column="address", caption_column="alt")
    assert [url for url, _, _ in found] == urls()
    with pytest.raises(UserError, match=r"download\.urls\.picture_column.*address, alt"):
        list_rows(path, caption_column="alt")


@pytest.mark.parametrize("first", ["caption", "url"])
def test_conceptual_captions_as_it_comes(first: str, tmp_path: Path, caplog) -> None:
    """CC3M has the caption first, CC12M the URL; a line says which column was taken for what."""
    path = tmp_path / "Train_GCC-training.tsv"
    pairs = list(zip(urls(), CAPTIONS))
    path.write_text(
        "".join("\t".join(pair if first == "url" else pair[::-1]) + "\n" for pair in pairs)
    )
    with caplog.at_level(logging.INFO):
        found = list_rows(path)
    assert [(url, captions[0]) for url, captions, _ in found] == pairs
    assert [row for _, _, row in found] == [f"{path.name}:{n}" for n in (1, 2, 3)]
    columns = ("1", "2") if first == "url" else ("2", "1")
    said = f"pictures from column '{columns[0]}', captions from '{columns[1]}'"
    assert sum(said in line for line in caplog.messages) == 1


def test_rows_of_one_url_are_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text(
        "url\tcaption\n" + "".join(f"{url}\t{text}\n" for text in ("one", "two") for url in urls(2))
    )
    assert [captions for _, captions, _ in list_rows(path)] == [["one", "two"]] * 2


def test_without_a_path() -> None:
    with pytest.raises(UserError, match=r"download\.urls\.path: not set"):
        list(Urls().list_batches())


# ------------------------------------------------------------------------------------------------
# with a server


def write(folder: Path, source: Urls, *, workers: int = 1, shard_size: int = 4, **more):
    return write_shards(
        source,
        folder / "pairs",
        folder / "truth",
        shard_size=shard_size,
        min_success=more.pop("min_success", 0.0),
        seed=0,
        runtime=RuntimeParams(workers=workers),
        **more,
    )


def make_list(folder: Path, addresses: list[str], http: HttpParams = PATIENT) -> Urls:
    folder.mkdir(exist_ok=True)
    path = folder / "list.csv"
    path.write_text("\n".join(["url,caption", *(f"{url},about {url}" for url in addresses), ""]))
    return Urls(path=str(path), http=http, tune=0.0, test=0.0)


def read_rows(folder: Path) -> list[dict]:
    files = sorted((folder / "pairs").glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()


def read_files(folder: Path) -> dict[str, bytes]:
    return {
        f"{name}/{path.name}": path.read_bytes()
        for name in ("pairs", "truth")
        for path in (folder / name).iterdir()
    }


def test_the_outcome_of_every_row(tmp_path: Path) -> None:
    outcomes = {
        "/good/1.jpg": None,
        "/slow.jpg": None,
        "/moved.jpg": None,
        "/stalled.jpg": "timed_out",
        "/trickle.jpg": "too_slow",
        "/huge.jpg": "too_large",
        "/endless.jpg": "too_large",
        "/packed-bomb.jpg": "too_large",
        "/truncated.jpg": "truncated",
        "/page": "wrong_type",
        "/page.jpg": "wrong_type",
        "/loop.jpg": "too_many_redirects",
        "/to-link-local.jpg": "refused_address",
        "/to-neighbour.jpg": "refused_address",
        "/lost.jpg": "not_found",
        "/reset.jpg": "connection_failed",
        "/noai.jpg": "opted_out",
        "/empty.jpg": "empty",
        "/bomb.png": "too_many_pixels",
        "/damaged.jpg": "not_decodable",
    }
    with serving() as server:
        paths = [*outcomes]
        found = write(tmp_path, make_list(tmp_path, [server.url(path) for path in paths], QUICK))
        rows = read_rows(tmp_path)
        assert {row["url"]: row["reason"] for row in rows} == {
            server.url(path): reason for path, reason in outcomes.items()
        }
        good = next(row for row in rows if row["url"] == server.url("/moved.jpg"))
        assert found == {"pairs": 3.0, "download_success": 3 / len(paths)}
    statuses = Counter(row["status"] for row in rows)
    assert statuses == {"success": 3, "failed_to_download": 15, "failed_to_resize": 2}
    assert good["original_sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert (good["original_width"], good["source_row"]) == (48, "list.csv:4")
    assert all((row["error_message"] is None) == (row["reason"] is None) for row in rows)
    assert len(read_pairs(tmp_path / "pairs")) == 3
    assert len(list(read_images(tmp_path / "pairs", "00000"))) == 3


def test_as_many_workers_as_one_write_the_same(tmp_path: Path) -> None:
    with serving(pause=0.01) as server:
        source = make_list(tmp_path, [server.url(f"/good/{n}.jpg") for n in range(12)])
        for workers in (1, 2):
            write(tmp_path / str(workers), source, workers=workers, shard_size=3)
        assert server.busiest <= PATIENT.connections_per_host
    assert read_files(tmp_path / "1") == read_files(tmp_path / "2")


def test_no_more_workers_than_connections() -> None:
    assert Urls(http=HttpParams(connections=3, connections_per_host=8)).max_workers() == 3
    assert Urls(http=HttpParams(connections=64, connections_per_host=8)).max_workers() == 8


def test_http_decides_nothing_of_the_rows() -> None:
    """So that a row that timed out can be asked for again with more patience."""
    assert repr(Urls(http=HttpParams(retries=7))) == repr(Urls())
    assert repr(Urls(max_side=100)) != repr(Urls())
