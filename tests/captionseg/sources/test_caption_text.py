"""Captions as people's files have them: clean ones are pairs, others are refused one by one, and
none is lost.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionseg.datasets.download import write_shards
from captionseg.expectations.params import ValidateParams
from captionseg.records import LONGEST_CAPTION
from captionseg.sources.caption_text import clean, read_captions
from captionseg.sources.folder import Folder
from captionseg.sources.reasons import Refusal

CLEAN = {
    "a dog &amp; a cat": "a dog & a cat",
    "salt &amp;amp; pepper": "salt & pepper",
    "caf&eacute; &#8211; &#x2603;&nbsp;outside": "café \u2013 ☃ outside",
    "a &quot;red&quot; car&#39;s door": 'a "red" car\'s door',
    "a <b>red</b>dish <i>dog</i>": "a reddish dog",
    "a dog<br/>a cat<p class='x > y'>a cow</p>": "a dog a cat a cow",
    "&lt;b&gt;bold&lt;/b&gt; dog": "bold dog",
    "before <!-- <b>never</b> --> after": "before after",
    "a <script>alert('x > y')</script >dog <STYLE>b {}</STYLE>": "a dog",
    '<a href="https://b.c/d?e=1&amp;f=2" title="x">link</a> text': "link text",
    "<img src=x onerror=alert(1)>a dog": "a dog",
    "1 < 2 and 3 > 2, I <3 dogs, x<y": "1 < 2 and 3 > 2, I <3 dogs, x<y",
    "<PERSON> and AT&T, R&D; fish&chips": "<PERSON> and AT&T, R&D; fish&chips",
    "cafe\u0301": "café",
    "\u202ea dog\u202c \u00adin the\u200b park\u200f": "a dog in the park",
    "\u0645\u06cc\u200c\u062e\u0648 👩\u200d👩": "\u0645\u06cc\u200c\u062e\u0648 👩\u200d👩",
    "tab\there\x07\x00 \x85end": "tab here end",
}


@pytest.mark.parametrize("text", CLEAN)
def test_what_is_shown_is_what_stays(text: str) -> None:
    assert clean(text) == CLEAN[text]
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    "data",
    [
        b"a\nb\nc",
        b"a\r\nb\r\nc\r\n",
        b"\xef\xbb\xbfa\rb\n\n \nc",
        b"a\nb\na\nb\nc\n",
        "a\u2028b\x85c".encode(),
        b"a\n<i\nclass=x>b</i>\n<br>\nc",
    ],
)
def test_every_line_is_a_caption(data: bytes) -> None:
    assert read_captions(data) == (["a", "b", "c"], "")
    assert len(read_captions(data, joined=True)[0]) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("a dog".encode("utf-16-le"), "not UTF-8 .is it UTF-16"),
        ("a dog".encode("utf-16"), "not UTF-8"),
        ("une fenêtre".encode("latin-1"), "not UTF-8"),
        (b"<br><img src=x>", "caption is empty"),
        (b"&nbsp;\n\n", "empty"),
        (b"x" * (LONGEST_CAPTION + 1), "caption is longer than 50,000 characters"),
        (
            b"x" * (LONGEST_CAPTION + 1) + b"\n" + b"y" * (LONGEST_CAPTION + 1),
            "2 of 2 captions are longer",
        ),
    ],
)
def test_what_is_no_caption(data: bytes, reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        read_captions(data)


def test_what_download_takes_validation_and_spacy_take() -> None:
    assert ValidateParams().max_caption >= LONGEST_CAPTION
    assert LONGEST_CAPTION < 1_000_000


@pytest.mark.parametrize(
    "piece", ["<script", "<!--", "<b ", "<b '", '<b "', "<", "&amp;", "&", "<a b='"]
)
def test_hostile_text_takes_no_time(piece: str) -> None:
    start = time.perf_counter()
    clean(piece * (2**19 // len(piece)))
    assert time.perf_counter() - start < 20


def put(path: Path, number: int, caption: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path, "PNG")
    if caption is not None:
        path.with_suffix(".txt").write_text(caption)


def rows_of(root: Path, tmp_path: Path, **settings) -> list[dict]:
    pairs = tmp_path / "pairs"
    write_shards(
        Folder(str(root), **settings),
        pairs,
        tmp_path / "truth",
        shard_size=4,
        min_success=0.0,
        seed=0,
    )
    return [
        row for file in sorted(pairs.glob("*.parquet")) for row in pq.read_table(file).to_pylist()
    ]


def test_several_captions_of_a_picture_are_pairs_of_one_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight pictures of five captions; one of them has one that is too long: its row says so, the
    others stay.
    """
    for number in range(8):
        lines = [f"caption {number} {line}" for line in range(5)]
        lines[2] = "x" * (LONGEST_CAPTION + 1) if number == 3 else lines[2]
        put(tmp_path / f"in/{number}.png", number, "\n".join(lines) + "\n")
    rows = rows_of(tmp_path / "in", tmp_path, tune=0.3, test=0.3, captions="each")
    assert len(rows) == len({row["uid"] for row in rows}) == 40
    good = [row for row in rows if row["status"] == "success"]
    assert len(good) == 39
    (bad,) = [row for row in rows if row["status"] != "success"]
    assert (bad["url"], bad["caption"]) == ("3.png", "")
    assert bad["error_message"] == "1 of 5 captions are longer than 50,000 characters"
    for number in range(8):
        mine = [row for row in rows if row["url"] == f"{number}.png"]
        assert len({row["split"] for row in mine}) == 1, (
            "or a picture would be trained on and tested"
        )
        assert len({row["sha256"] for row in mine if row["sha256"]}) == 1
        assert [row["caption"] for row in mine if row["caption"]] == [
            f"caption {number} {line}" for line in range(5) if (number, line) != (3, 2)
        ]
    assert len({row["split"] for row in rows}) > 1
    assert any("8 pictures have several captions" in text for text in caplog.messages)
    assert len(rows_of(tmp_path / "in", tmp_path / "joined", caption_lines="joined")) == 8


@pytest.mark.parametrize("captions", ["first", "random"])
def test_captions_that_make_no_pair_are_held_out(tmp_path: Path, captions: str) -> None:
    for number in range(8):
        lines = [f"caption {number} {line}" for line in range(5)]
        put(tmp_path / f"in/{number}.png", number, "\n".join([*lines, lines[0]]))
    rows = rows_of(tmp_path / "in", tmp_path, captions=captions)
    assert len(rows) == 8
    chosen = [int(row["caption"].split()[-1]) for row in rows]
    assert (set(chosen) == {0}) == (captions == "first")
    for row, line in zip(rows, chosen, strict=True):
        number = row["url"].removesuffix(".png")
        assert row["caption"] == f"caption {number} {line}"
        assert row["held_out_captions"] == [
            f"caption {number} {other}" for other in range(5) if other != line
        ]


def test_captions_find_their_pictures(tmp_path: Path) -> None:
    """However files are named: by the whole name, in capital letters, with letters composed or
    not."""
    root = tmp_path / "in"
    for number, (picture, caption) in enumerate(
        [
            ("a.png", "a.png.txt"),
            ("b.PNG", "b.TXT"),
            ("IMG_1.JPG", "img_1.txt"),
            ("e\u0301.png", "\u00e9.txt"),
            ("both.jpg", "both.jpg.txt"),
            ("both.png", "both.txt"),
            ("-rf.png", "-rf.txt"),
            ("ﬁ نص 😀.png", "ﬁ نص 😀.txt"),
            ("line\nbreak.png", "line\nbreak.txt"),
        ]
    ):
        put(root / picture, number)
        (root / caption).write_text(f"of {picture}".replace("\n", " "))
    rows = rows_of(root, tmp_path)
    assert {row["url"]: row["caption"] for row in rows} == {
        row["url"]: f"of {row['url']}".replace("\n", " ").replace("e\u0301", "\u00e9")
        for row in rows
    }
    assert {row["status"] for row in rows} == {"success"}
    assert len(rows) == 9


def test_a_caption_is_of_one_picture_and_a_picture_has_one_file_of_captions(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for number, name in enumerate(("a.jpg", "a.png", "b.png", "Both.png", "both.png", "c.png")):
        put(root / name, number)
    for name in ("a.txt", "b.txt", "b.TXT", "both.txt", "c.png.txt", "c.txt"):
        (root / name).write_text(f"from {name}")
    said = {row["url"]: row["error_message"] or row["caption"] for row in rows_of(root, tmp_path)}
    assert said == {
        "a.jpg": "from a.txt",
        "a.png": "its caption a.txt is of a.jpg too; give it one of its own, a.png.txt",
        "b.png": "several captions, b.TXT and b.txt; leave one",
        "both.png": "from both.txt",
        "Both.png": "its caption both.txt is of both.png too; give it one of its own, Both.png.txt",
        "c.png": "from c.png.txt",
        "c.txt": "a caption without a picture beside it",
    }
