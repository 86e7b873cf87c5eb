"""What the caption stage leaves for segment_text: the sign of whose captions count, and captions
that are kept.
"""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.corpus_captions import Captions, write_captions
from captionseg.captioners.precomputed import PrecomputedParams
from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_pairs
from captionseg.records import UserError
from captionseg.sources.shapes import Shapes


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    source = Shapes(train=4, tune=2, test=0)
    write_shards(source, root / "pairs", root / "truth", shard_size=4, min_success=0.5, seed=0)
    return root / "pairs"


def precomputed(pairs, path, *, without=0, text="a dog", split="train") -> CaptionParams:
    """Captions for all pictures of training but the last few."""
    table = read_pairs(pairs)
    uids = [u for u, s in zip(table["uid"].to_pylist(), table["split"].to_pylist()) if s == "train"]
    uids = uids[: len(uids) - without]
    pq.write_table(
        pa.table({"uid": uids, "caption": [f"{text} {n}" for n in range(len(uids))]}), path
    )
    return CaptionParams("precomputed", split, precomputed=PrecomputedParams(str(path)))


def test_without_a_captioner_there_is_a_sign_and_nothing_else(pairs, tmp_path):
    assert write_captions(pairs, CaptionParams(), tmp_path / "captions") == {}
    assert [p.name for p in (tmp_path / "captions").iterdir()] == ["captions.json"]
    assert json.loads((tmp_path / "captions/captions.json").read_text()) == {
        "captioner": "none",
        "key": "",
    }
    assert Captions.load(tmp_path / "captions").rows("00000") is None
    with pytest.raises(
        UserError,
        match=r"caption.captioner: none is chosen; choose one of chat, server, precomputed",
    ):
        CaptionParams().build()


def test_pictures_of_the_split_are_captioned_and_the_sign_says_how_it_went(pairs, tmp_path):
    found = write_captions(
        pairs, precomputed(pairs, tmp_path / "c.parquet", without=1), tmp_path / "captions"
    )
    assert found == {
        "images": 4,
        "captioned": 3,
        "missing": 1,
        "failed": 0,
        "asked": 4,
        "words_per_caption": 3,
    }
    sign = json.loads((tmp_path / "captions/captions.json").read_text())
    assert sign == {
        "captioner": "precomputed",
        "key": sign["key"],
        "images": 4,
        "captioned": 3,
        "missing": 1,
        "failed": 0,
        "words_per_caption": 3,
    }
    rows = Captions.load(tmp_path / "captions").rows("00000")
    assert [row["generated"] for row in rows.values()] == ["a dog 0.", "a dog 1.", "a dog 2.", None]
    assert [row["status"] for row in rows.values()] == ["success"] * 3 + ["missing"]
    assert Captions.load(tmp_path / "captions").rows("00001") == {}  # of another split
    with pytest.raises(UserError, match="no caption for any of 2 pictures"):
        write_captions(
            pairs, precomputed(pairs, tmp_path / "c.parquet", split="tune"), tmp_path / "captions"
        )


def test_captions_of_other_configurations_stay_and_do_not_count(pairs, tmp_path):
    def files() -> dict[str, bytes]:
        return {
            p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()
        }

    out = tmp_path / "captions"
    one, other = (
        precomputed(pairs, tmp_path / f"{text}.parquet", text=text) for text in ("one", "other")
    )
    write_captions(pairs, one, out)
    first = files()
    write_captions(pairs, other, out)
    assert {row["generated"] for row in Captions.load(out).rows("00000").values()} == {
        f"other {n}." for n in range(4)
    }
    assert len(files()) == 3  # captions.json and a shard of each
    assert write_captions(pairs, one, out)["asked"] == 0
    assert first.items() <= files().items()
    write_captions(pairs, CaptionParams(), out)
    assert Captions.load(out).rows("00000") is None
    assert len(files()) == 3


def test_a_folder_that_is_unfinished_is_one_line(pairs, tmp_path):
    with pytest.raises(
        UserError, match=r"captions: unfinished, it has no captions.json; run `dvc repro caption`"
    ):
        Captions.load(tmp_path / "captions")
    out = tmp_path / "captions"
    write_captions(pairs, precomputed(pairs, tmp_path / "c.parquet"), out)
    with pytest.raises(UserError, match="no file"):
        write_captions(
            pairs, CaptionParams("precomputed", precomputed=PrecomputedParams("nowhere")), out
        )
    # what was right before does not pass for what was asked now
    with pytest.raises(UserError, match="unfinished"):
        Captions.load(out)
    (out / "captions.json").write_text("[")
    with pytest.raises(UserError, match="unfinished"):
        Captions.load(out)
