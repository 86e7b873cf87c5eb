"""download.retry: what is taken over of an earlier download, and what is asked for again."""

from __future__ import annotations

from pathlib import Path

import pytest

from captionseg.records import UserError
from captionseg.sources.shapes import Shapes
from captionseg.sources.urls import Urls
from tests.captionseg.sources.fetching.hostile import serving
from tests.captionseg.sources.test_urls import PATIENT, make_list, read_files, write


def ask_again(folder: Path, before: Path, source: Urls, **more):
    return write(folder, source, earlier=(before / "pairs", before / "truth"), **more)


@pytest.mark.parametrize("workers", [1, 2])
def test_failed_rows_alone_are_asked_for_again(workers: int, tmp_path: Path) -> None:
    with serving() as server:
        names = [f"/good/{number}.jpg" for number in range(14)]
        names[5:7] = ["/lost.jpg", "/missing.jpg"]
        source = make_list(tmp_path, [server.url(name) for name in names])
        old, new = tmp_path / "old", tmp_path / "new"
        write(old, source)
        asked = dict(server.asked)
        found = ask_again(new, old, source, workers=workers)
        assert found["pairs"] == 13
        again = {path: n - asked[path] for path, n in server.asked.items() if n > asked[path]}
        assert again == {"/lost.jpg": 1, "/missing.jpg": 1}
        anew = tmp_path / "anew"
        write(anew, source)
    before, after = read_files(old), read_files(new)
    assert {name for name in after if after[name] != before[name]} == {
        "pairs/00001.tar",
        "pairs/00001.parquet",
        "pairs/00001_stats.json",
    }
    assert after == read_files(anew), "as if all had been asked for"


def test_without_retry_nothing_is_taken_over(tmp_path: Path) -> None:
    with serving() as server:
        source = make_list(tmp_path, [server.url("/good/1.jpg")])
        for name in ("old", "new"):
            write(tmp_path / name, source)
        assert server.asked["/good/1.jpg"] == 2


def test_an_earlier_output_of_other_rows_is_left_alone(tmp_path: Path, caplog) -> None:
    with serving() as server:
        addresses = [server.url(f"/good/{number}.jpg") for number in range(5)]
        write(tmp_path / "old", make_list(tmp_path, addresses[:4]))
        ask_again(tmp_path / "new", tmp_path / "old", make_list(tmp_path, addresses))
        assert server.asked["/good/1.jpg"] == 2
        assert caplog.messages == [
            f"download.retry: {tmp_path}/old/pairs has no shard of these rows, so all are asked for"
        ]
        caplog.clear()
        ask_again(tmp_path / "newest", tmp_path / "nothing", make_list(tmp_path, addresses))
        assert len(caplog.messages) == 1


def test_a_shard_that_is_damaged_is_asked_for_again(tmp_path: Path) -> None:
    with serving() as server:
        source = make_list(tmp_path, [server.url(f"/good/{n}.jpg") for n in range(8)])
        write(tmp_path / "old", source)
        tar = tmp_path / "old" / "pairs" / "00001.tar"
        tar.write_bytes(tar.read_bytes()[:2000])
        ask_again(tmp_path / "new", tmp_path / "old", source)
        assert {path: n for path, n in server.asked.items() if n > 1} == {
            f"/good/{number}.jpg": 2 for number in range(4, 8)
        }


def test_too_few_successes_name_the_reasons_and_the_next_try_asks_for_the_rest(
    tmp_path: Path,
) -> None:
    with serving() as server:
        names = ["/good/0.jpg", "/mended.jpg", "/mended.jpg?2", "/page", "/good/4.jpg"]
        source = make_list(tmp_path, [server.url(name) for name in names])
        new, none = tmp_path / "new", tmp_path / "none"
        with pytest.raises(UserError) as caught:
            ask_again(new, none, source, min_success=0.7)
        assert str(caught.value) == (
            "download: 2 of 5 rows succeeded, below download.min_success = 0.7: "
            "2 x not_found: HTTP 404; 1 x wrong_type: Content-Type: text/html"
        )
        server.repaired = True
        assert ask_again(new, none, source, min_success=0.7)["pairs"] == 4
        assert server.asked == {"/good/0.jpg": 1, "/good/4.jpg": 1, "/mended.jpg": 4, "/page": 2}
    assert {path.name for path in new.iterdir()} == {"pairs", "truth"}


def test_a_picture_that_was_changed_is_asked_for_again(tmp_path: Path) -> None:
    """Beside a row that failed: its own shard is then made anew."""
    with serving() as server:
        names = ["/good/0.jpg", "/good/1.jpg", "/missing.jpg"]
        source = make_list(tmp_path, [server.url(name) for name in names])
        write(tmp_path / "old", source)
        tar = tmp_path / "old" / "pairs" / "00000.tar"
        data = bytearray(tar.read_bytes())
        data[512 + 100] ^= 255  # in the first picture
        tar.write_bytes(data)
        ask_again(tmp_path / "new", tmp_path / "old", source)
        assert server.asked == {"/good/0.jpg": 2, "/good/1.jpg": 1, "/missing.jpg": 2}


def test_what_the_source_lists_is_settled(tmp_path: Path) -> None:
    """A row without a caption is not asked for, so its shard stays as it is."""
    with serving() as server:
        path = tmp_path / "list.tsv"
        path.write_text(f"url\tcaption\n{server.url('/good/1.jpg')}\ta dog\nftp://a/b.jpg\t\n")
        source = Urls(path=str(path), http=PATIENT, tune=0.0, test=0.0)
        write(tmp_path / "old", source)
        ask_again(tmp_path / "new", tmp_path / "old", source)
        assert server.asked == {"/good/1.jpg": 1}
    assert read_files(tmp_path / "old") == read_files(tmp_path / "new")


def test_shards_of_a_source_with_truth_are_taken_as_they_are(tmp_path: Path) -> None:
    source = Shapes(train=5, tune=2, test=2, size=32)
    write(tmp_path / "old", source)
    ask_again(tmp_path / "new", tmp_path / "old", source)
    assert read_files(tmp_path / "old") == read_files(tmp_path / "new")
