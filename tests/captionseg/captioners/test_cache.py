"""Captioning a folder of pairs: resumed without repeating anything, failures with their reasons."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionseg.captioners.cache import HOPELESS, caption, read_earlier_rows
from captionseg.captioners.captioner import CaptionError, Decoding, NoCaption
from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.chat import ChatParams
from captionseg.captioners.precomputed import PrecomputedParams
from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_pairs
from captionseg.records import CAPTIONS, ClassTable, UserError
from captionseg.sources.source import Sample


class Drawn:
    """A pair source of pictures of 10 pixels a side; row 3 could not be had."""

    def __init__(self, count: int = 12) -> None:
        self.count = count

    def __repr__(self) -> str:
        return f"Drawn({self.count})"

    def prepare(self, folder=None) -> None: ...

    def splits(self) -> dict[str, int]:
        return {"train": self.count}

    def samples(self, split, numbers, *, seed):
        return [self.sample(split, number) for number in numbers]

    def sample(self, split: str, number: int) -> Sample:
        url, text = f"drawn:{number}", f"picture {number}"
        if number == 3:
            return Sample(url, text, split, status="failed_to_download", error="404")
        stream = io.BytesIO()
        Image.fromarray(np.full((10, 10, 3), number, np.uint8)).save(stream, "PNG")
        return Sample(url, text, split, stream.getvalue(), 10, 10)

    def classes(self) -> ClassTable:
        return ClassTable((), ())

    def licences(self) -> str:
        return ""


class Killed(BaseException): ...


class Counting:
    """Answers with what it was given, and counts; `answer` may raise."""

    def __init__(
        self, answer: Callable[[str], str] = lambda given: f"more than {given}", *, batch=2, key="k"
    ) -> None:
        self.answer, self.batch, self.key = answer, batch, key
        self.asked: Counter[str] = Counter()
        self.largest = 0

    def captions(self, images, given, *, uids=(), urls=()) -> list[str]:
        assert len(images) == len(given) == len(uids) == len(urls)
        self.largest = max(self.largest, len(images))
        answers = [self.answer(text) for text in given]
        for image, text in zip(images, given):
            assert f"picture {image[0, 0, 0]}" == text
        self.asked.update(given)
        return answers


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    write_shards(Drawn(), root / "pairs", root / "truth", shard_size=5, min_success=0.5, seed=0)
    return root / "pairs"


def read_captions(out, captioner, uids=None) -> list[tuple[str, str]]:
    """(uid, generated caption) of every success on disk."""
    rows = [
        row
        for number in range(3)
        for row in read_earlier_rows(out / captioner.key, f"0000{number}")
    ]
    return [
        (r["uid"], r["generated"])
        for r in rows
        if r["status"] == "success" and (not uids or r["uid"] in uids)
    ]


def uid_of_number(pairs) -> dict[int, str]:
    table = read_pairs(pairs)
    return {
        int(c.split()[1]): u for c, u in zip(table["caption"].to_pylist(), table["uid"].to_pylist())
    }


def raising(error, at: set[int]):
    """Answers, but raises for pictures of these numbers."""

    def answer(given: str) -> str:
        if int(given.split()[1]) in at:
            raise error
        return f"more than {given}"

    return answer


def test_every_picture_gets_a_caption(pairs, tmp_path):
    captioner = Counting(batch=4)
    measures = caption(pairs, captioner, tmp_path)
    assert measures == {
        "images": 11,
        "captioned": 11,
        "failed": 0,
        "missing": 0,
        "asked": 11,
        "words_per_caption": 4,
    }
    assert captioner.largest == 4
    found, uids = dict(read_captions(tmp_path, captioner)), uid_of_number(pairs)
    assert found == {uids[i]: f"more than picture {i}." for i in range(12) if i != 3}
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*"))
    assert files == ["k", "k/00000.parquet", "k/00001.parquet", "k/00002.parquet"]
    assert pq.read_table(tmp_path / "k/00000.parquet").schema.equals(CAPTIONS)


@pytest.mark.parametrize("at", [0, 2, 4, 5, 8, 11])
def test_killed_and_resumed_repeats_nothing(pairs, tmp_path, at):
    first = Counting(raising(Killed(), {at}))
    with pytest.raises(Killed):
        caption(pairs, first, tmp_path)
    second = Counting()
    assert caption(pairs, second, tmp_path)["captioned"] == 11
    total = first.asked + second.asked
    assert len(total) == 11
    assert set(total.values()) == {1}
    third = Counting()
    measures = caption(pairs, third, tmp_path)
    assert (measures["captioned"], measures["asked"], len(third.asked)) == (11, 0, 0)
    assert not list(tmp_path.rglob("*.part*s"))


def test_killed_while_a_shard_is_put_together(pairs, tmp_path, monkeypatch):
    from captionseg.captioners import cache

    write = cache.write_table

    def dying(table, path):
        if path.name == "00001.parquet":
            raise Killed
        write(table, path)

    monkeypatch.setattr(cache, "write_table", dying)
    first, second = Counting(), Counting()
    with pytest.raises(Killed):
        caption(pairs, first, tmp_path)
    monkeypatch.undo()
    assert len(dict(read_captions(tmp_path, first))) == len(first.asked)  # read from parts
    assert caption(pairs, second, tmp_path)["captioned"] == 11
    assert set((first.asked + second.asked).values()) == {1}


def test_another_configuration_captions_anew(pairs, tmp_path):
    caption(pairs, Counting(key="one"), tmp_path)
    other = Counting(lambda given: "other", key="two")
    caption(pairs, other, tmp_path)
    assert len(other.asked) == 11
    assert set(dict(read_captions(tmp_path, other)).values()) == {"other."}
    assert len(dict(read_captions(tmp_path, Counting(key="one")))) == 11


def test_only_the_wanted_and_later_the_rest(pairs, tmp_path):
    uids = uid_of_number(pairs)
    few = {uids[1], uids[6]}
    captioner = Counting()
    assert caption(pairs, captioner, tmp_path, uids=few)["images"] == 2
    assert caption(pairs, captioner, tmp_path)["images"] == 11
    assert set(captioner.asked.values()) == {1}
    assert dict(read_captions(tmp_path, captioner, few)).keys() == few


def test_a_failed_picture_keeps_its_reason_and_spoils_no_other(pairs, tmp_path):
    measures = caption(
        pairs, Counting(raising(CaptionError("too dark"), {1, 6}), batch=3), tmp_path
    )
    assert (measures["images"], measures["captioned"], measures["failed"]) == (11, 9, 2)
    rows = {row["uid"]: row for row in pq.read_table(tmp_path / "k").to_pylist()}
    row = rows[uid_of_number(pairs)[6]]
    assert (row["status"], row["error_message"], row["generated"]) == ("failed", "too dark", None)
    assert len(dict(read_captions(tmp_path, Counting()))) == 9


def test_failures_are_asked_again_unless_told_otherwise(pairs, tmp_path):
    caption(pairs, Counting(raising(CaptionError("too dark"), {1, 6})), tmp_path)
    again = Counting()
    assert caption(pairs, again, tmp_path, retry_failed=False)["failed"] == 2
    assert not again.asked
    assert caption(pairs, again, tmp_path)["captioned"] == 11
    assert sorted(again.asked) == ["picture 1", "picture 6"]


def test_an_empty_answer_is_a_failure(pairs, tmp_path):
    measures = caption(
        pairs, Counting(lambda given: " \n" if given == "picture 2" else "a dog"), tmp_path
    )
    assert (measures["captioned"], measures["failed"]) == (10, 1)
    reasons = Counter(row["error_message"] for row in pq.read_table(tmp_path / "k").to_pylist())
    assert reasons["empty answer"] == 1


def test_a_caption_of_3000_words_stays_whole(pairs, tmp_path):
    captioner = Counting(lambda given: "word " * 3000)
    assert caption(pairs, captioner, tmp_path)["words_per_caption"] == 3000
    assert {len(text.split()) for _, text in read_captions(tmp_path, captioner)} == {3000}


def test_text_that_is_no_text_is_written(pairs, tmp_path):
    captioner = Counting(lambda given: "a \ud83d\x00dog")
    caption(pairs, captioner, tmp_path)
    assert {text for _, text in read_captions(tmp_path, captioner)} == {"a dog."}


def test_no_caption_at_all(pairs, tmp_path):
    with pytest.raises(UserError, match="no caption for any of 11 pictures: 11 x empty answer"):
        caption(pairs, Counting(lambda given: ""), tmp_path)
    with pytest.raises(
        UserError, match="no caption for any of 0 pictures: there are no such pictures"
    ):
        caption(pairs, Counting(), tmp_path, uids=[])


def test_a_captioner_that_never_works_is_not_asked_for_ever(tmp_path):
    write_shards(
        Drawn(80), tmp_path / "pairs", tmp_path / "truth", shard_size=100, min_success=0.5, seed=0
    )
    asked = []

    def answer(given):
        if given in {"picture 0", "picture 1"}:
            return "a dog"
        asked.append(given)
        raise CaptionError("HTTP 400: no")

    with pytest.raises(
        UserError, match=f"{HOPELESS} pictures in a row failed, .* with: HTTP 400: no; fix"
    ):
        caption(tmp_path / "pairs", Counting(answer, batch=1), tmp_path / "out")
    assert len(asked) == HOPELESS
    assert caption(tmp_path / "pairs", Counting(), tmp_path / "out")["captioned"] == 79


def test_what_stops_the_captioner_stops_the_run_and_keeps_the_rest(pairs, tmp_path):
    first = Counting(raising(UserError("server is gone"), {7}))
    with pytest.raises(UserError, match="server is gone"):
        caption(pairs, first, tmp_path)
    assert len(dict(read_captions(tmp_path, first))) == len(first.asked) == 6


def test_a_broken_file_is_named_and_its_captions_are_made_again(pairs, tmp_path, caplog):
    """Put aside, not deleted; who only reads is told, and gets no captions less."""
    caption(pairs, Counting(), tmp_path)
    file = tmp_path / "k/00001.parquet"
    before = file.read_bytes()
    file.write_bytes(before[:-20])
    with pytest.raises(UserError, match=r"00001.parquet: cannot be read .*; delete it"):
        read_earlier_rows(tmp_path / "k", "00001")
    again = Counting()
    caption(pairs, again, tmp_path)
    assert len(again.asked) == pq.read_metadata(file).num_rows
    assert file.read_bytes() == before
    assert file.with_name("00001.parquet.unreadable").read_bytes() == before[:-20]
    assert len([m for m in caplog.messages if "00001.parquet: cannot be read" in m]) == 1


def test_a_file_of_captions_that_lacks_some(pairs, tmp_path):
    table = read_pairs(pairs)
    few = [u for u in table["url"].to_pylist() if u != "drawn:4"]
    pq.write_table(pa.table({"url": few, "caption": ["a dog"] * len(few)}), tmp_path / "c.parquet")
    captioner = PrecomputedParams(str(tmp_path / "c.parquet")).build()
    measures = caption(pairs, captioner, tmp_path / "out")
    assert (measures["captioned"], measures["missing"], measures["failed"]) == (10, 1, 0)
    (row,) = pq.read_table(
        tmp_path / "out" / captioner.key, filters=[("status", "=", NoCaption.status)]
    ).to_pylist()
    assert row["error_message"].startswith("no caption for url drawn:4 in ")


def test_a_file_of_captions_of_other_pictures(pairs, tmp_path):
    pq.write_table(pa.table({"uid": ["a"], "caption": ["a dog"]}), tmp_path / "c.parquet")
    captioner = PrecomputedParams(str(tmp_path / "c.parquet")).build()
    with pytest.raises(
        UserError, match="no caption for any of 11 pictures: 11 x no caption in the file"
    ):
        caption(pairs, captioner, tmp_path / "out")


def test_a_chat_model_over_pairs(pairs, checkpoint, tmp_path):
    decoding = Decoding(top_k=0, top_p=1.0, max_new_tokens=4)
    params = CaptionParams("chat", chat=ChatParams(str(checkpoint), "cpu", "fp32", decoding))
    uids = list(uid_of_number(pairs).values())[:3]
    measures = caption(pairs, params.build(), tmp_path, uids=uids)
    assert measures["images"] == 3
