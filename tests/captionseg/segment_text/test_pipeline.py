"""The whole of segment_text on coloured squares, whose colours are the joint space."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import spacy

from captionseg.arrays import ShardedArray
from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.corpus_captions import write_captions
from captionseg.captioners.precomputed import PrecomputedParams
from captionseg.datasets.pair_tables import read_classes, read_pairs, read_truth
from captionseg.grounding.relevance import Relevance
from captionseg.grounding.sam3 import Sam3
from captionseg.records import SEGMENTS, UserError
from captionseg.regioning import write_regions
from captionseg.segment_text import pipeline as pipelines
from captionseg.segment_text import stage_inputs
from captionseg.segment_text.maker import View
from captionseg.segment_text.measure import measure
from captionseg.segment_text.params import SegmentTextParams
from captionseg.segment_text.phrases import CaptionPhrases, Phrase
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.superpixels import Superpixels
from captionseg.storage.folders import read_tables
from captionseg.storage.packed import write_packed
from captionseg.storage.writing import write_array, write_table
from captionseg.supervision import parquet_files
from captionseg.text.referring import Mention, Reference, parse_references
from tests.captionseg.supervision.rows import Concept, supervision_of
from tests.tiny_sam3 import QUERIES

COLOURS, GREY = {"red": (220, 30, 30)}, (120, 120, 120)
AXES = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "ground": (1, 1, 1)}
PARAMS = SegmentTextParams(
    "rule",
    relevance=Relevance(threshold=0.5),
    superpixels=Superpixels(maker=Felzenszwalb(side=32, min_size=20)),
)


def spoken(caption: str) -> Reference:
    """The caption as a phrase, and an expression that has it."""
    places = Mention((0, len(caption)), (0, len(caption)))
    return Reference(caption, f"{caption} on the ground", (places,))


class Colours:
    """Texts that name a colour point to it; dense features are colours."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return self.normalised(
            np.array([next(v for k, v in AXES.items() if k in text) for text in texts], np.float32)
        )

    def project_dense(self, dense: np.ndarray) -> np.ndarray:
        return self.normalised(dense.astype(np.float32))

    @staticmethod
    def normalised(array: np.ndarray) -> np.ndarray:
        return array / np.linalg.norm(array, axis=-1, keepdims=True)


@pytest.fixture
def ready(squares: Path, features: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that the stage reads; the phrase of a caption is the caption, and the grey ground
    its expression.
    """
    monkeypatch.setattr(
        stage_inputs,
        "parse_references",
        lambda captions, model=None: [[spoken(c)] for c in captions],
    )
    write_regions(squares / "pairs", squares / "regions", maker=PARAMS.superpixels.maker)
    pairs = read_pairs(squares / "pairs").to_pylist()
    train = [p for p in pairs if p["split"] == "train"]
    archives = [(Concept(p["caption"].split()[1]), Concept("ground")) for p in train]
    kept, reasons = [True] * 5 + [False], [""] * 5 + ["why"]
    supervision = supervision_of([p["uid"] for p in train], archives, kept=kept, reasons=reasons)
    parquet_files.write(supervision, squares / "supervision" / "rule" / "00000.parquet")
    write_captions(squares / "pairs", CaptionParams(), squares / "captions")
    return squares


def run(
    folder: Path, out: str = "segments", params: SegmentTextParams = PARAMS
) -> dict[str, float]:
    inputs = inputs_of(folder)
    return pipelines.segment(inputs, params, space=Colours, segments=folder / out, seed=0)


def inputs_of(folder: Path) -> stage_inputs.Inputs:
    return stage_inputs.Inputs(
        *(folder / name for name in ("pairs", "captions", "supervision", "features", "regions"))
    )


def test_each_kept_square_is_one_segment_with_its_phrase_and_its_concept(ready: Path) -> None:
    result = run(ready)
    table = read_tables(ready / "segments")
    assert table.schema.equals(SEGMENTS)
    kept = read_pairs(ready / "pairs")["uid"].to_pylist()[:5]
    # in order; neither the dropped row nor the test split
    assert list(dict.fromkeys(table["uid"].to_pylist())) == kept
    squares = [r for r in table.to_pylist() if any("square" in t["text"] for t in r["texts"])]
    assert [r["uid"] for r in squares] == kept
    assert all(
        {t["kind"] for t in r["texts"]} == {"phrase", "expression", "concept"} for r in squares
    )
    assert result["images"] == 5
    assert result["phrases"] == 15
    assert result["expressions"] == 5
    assert result["boxes_unassigned"] == result["captions_cut"] == result["boxes_beyond_limit"] == 0
    assert {name: n for name, n in result.items() if name.startswith("captions")} == {
        "captions": 5,
        "captions_generated": 0,
        "captions_failed": 0,
        "captions_missing": 0,
        "captions_empty": 0,
        "captions_cut": 0,
    }
    for row in squares:
        assert {(t["kind"], t["caption"]) for t in row["texts"]} == {
            ("phrase", 0),
            ("expression", 0),
            ("concept", -1),
        }
        assert {t["count"] for t in row["texts"]} == {1}
    assert result["per_image"] == len(table) / 5
    truth, names = read_truth(ready / "truth"), read_classes(ready / "truth").names
    scores = measure(
        table.filter(np.isin(table["segment_id"], [r["segment_id"] for r in squares])), truth, names
    )
    assert scores["text_precision"] == 1.0
    assert scores["named_recall"] == 0.5  # every square, no ground


def caption_all_but_two(folder: Path) -> Path:
    """Generated captions of the squares, in other words: the second is empty and the third is not
    there.
    """
    train = [p for p in read_pairs(folder / "pairs").to_pylist() if p["split"] == "train"]
    texts = {p["uid"]: f"{p['caption'].split()[1]} paint" for p in train}
    texts[train[1]["uid"]] = " "
    del texts[train[2]["uid"]]
    file = folder / "generated.parquet"
    pq.write_table(pa.table({"uid": list(texts), "caption": list(texts.values())}), file)
    params = CaptionParams("precomputed", precomputed=PrecomputedParams(str(file)))
    write_captions(folder / "pairs", params, folder / "captions")
    return file


def test_generated_captions_are_grounded_beside_the_original_and_what_lacks_one_keeps_its_own(
    ready: Path,
) -> None:
    run(ready)
    file = caption_all_but_two(ready)
    result = run(ready, "both")
    assert {name: n for name, n in result.items() if name.startswith("captions")} == {
        "captions": 8,
        "captions_generated": 3,
        "captions_failed": 1,
        "captions_missing": 1,
        "captions_empty": 0,
        "captions_cut": 0,
    }
    plain, both = (read_tables(ready / name).to_pylist() for name in ("segments", "both"))
    kept = read_pairs(ready / "pairs")["uid"].to_pylist()[:5]
    for number, uid in enumerate(kept):
        alone, more = ([row for row in rows if row["uid"] == uid] for rows in (plain, both))
        texts = [t for row in more for t in row["texts"] if t["caption"] == 1]
        if number in (1, 2):
            assert alone == more
        else:
            assert {(t["text"].split(" on ")[0], t["kind"]) for t in texts} == {
                (f"{list(AXES)[number % 3]} paint.", kind) for kind in ("phrase", "expression")
            }
            for row in more:
                row["texts"] = [t for t in row["texts"] if t["caption"] != 1]
            assert alone == more  # the same segments, merged with what the other caption calls them
    file.unlink()  # the captioner is not needed any more
    assert run(ready, "apart", replace(PARAMS, nms_iou=0.99))["captions_generated"] == 3


def test_equal_texts_of_two_captions_are_counted_together(ready: Path) -> None:
    train = [p for p in read_pairs(ready / "pairs").to_pylist() if p["split"] == "train"]
    file = ready / "same.parquet"
    texts = [p["caption"].replace("a ", "A  ") for p in train]
    pq.write_table(pa.table({"uid": [p["uid"] for p in train], "caption": texts}), file)
    params = CaptionParams("precomputed", precomputed=PrecomputedParams(str(file)))
    write_captions(ready / "pairs", params, ready / "captions")
    run(ready)
    said = [
        t
        for row in read_tables(ready / "segments").to_pylist()
        for t in row["texts"]
        if t["kind"] == "phrase"
    ]
    assert {(t["text"], t["caption"], t["count"]) for t in said} == {
        (f"a {name} square", 0, 2) for name in ("red", "green", "blue")
    }


def test_unfinished_captions_are_refused(ready: Path) -> None:
    (ready / "captions" / "captions.json").unlink()
    with pytest.raises(UserError, match=r"unfinished.*dvc repro caption"):
        run(ready)


def test_a_killed_run_keeps_its_finished_shards_and_ends_the_same(ready: Path) -> None:
    first = run(ready)
    before = {p.name: p.read_bytes() for p in (ready / "segments").iterdir()}
    assert set(before) == {f"0000{i}{end}" for i in (0, 1) for end in (".parquet", "_stats.json")}
    (ready / "segments" / "00001_stats.json").unlink()
    pq.write_table(SEGMENTS.empty_table(), ready / "segments" / "00001.parquet")
    kept = (ready / "segments" / "00000.parquet").stat().st_mtime_ns
    assert run(ready) == first
    assert {p.name: p.read_bytes() for p in (ready / "segments").iterdir()} == before
    assert (ready / "segments" / "00000.parquet").stat().st_mtime_ns == kept


def test_a_shard_that_lacks_a_file_or_a_row_is_made_again_and_never_left(
    ready: Path, monkeypatch
) -> None:
    def contents() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (ready / "segments").iterdir()}

    def shorten() -> None:
        table = pq.ParquetFile(parquet).read()
        parquet.unlink()
        pq.write_table(table.slice(1), parquet)

    def spread(work, jobs, *_, **__):
        yield from map(work, jobs)
        damage()

    run(ready)
    whole = contents()
    parquet, stats = (ready / "segments" / name for name in ("00000.parquet", "00000_stats.json"))
    for damage in (
        parquet.unlink,
        stats.unlink,
        shorten,
        lambda: parquet.write_bytes(b"PAR1"),
        lambda: stats.write_text("{}"),
    ):
        damage()
        run(ready)
        assert contents() == whole
        with monkeypatch.context() as patch:
            patch.setattr(pipelines, "spread", spread)
            with pytest.raises(
                UserError, match=r"segment_text: shard 00000: .*; nothing is put in place"
            ):
                run(ready)


def test_without_referring_the_segments_are_the_same_and_have_no_expressions(ready: Path) -> None:
    run(ready)
    run(ready, "plain", replace(PARAMS, referring=False))
    full, plain = (read_tables(ready / name).to_pylist() for name in ("segments", "plain"))
    assert "expression" not in {t["kind"] for row in plain for t in row["texts"]}
    for row in full:
        row["texts"] = [t for t in row["texts"] if t["kind"] != "expression"]
    assert full == plain


def test_a_caption_of_three_thousand_words(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_inputs, "parse_references", parse_references)
    caption = "A red ball lies on the ground. A green cup is beside a blue door. " * 200
    rows = [{"uid": "u", "caption": caption, "concepts": ["red"]}]
    assert len(caption.split()) == 3000
    ((said,),) = stage_inputs.find_phrases(rows, [[caption]], PARAMS)
    phrases = said.phrases
    assert said.text == caption
    assert {"A red ball", "the ground", "A green cup", "a blue door", "red"} <= {
        p.text for p in phrases
    }
    assert sum(len(p.spans) for p in phrases) == 4 * 200
    assert {caption[a:b] for p in phrases for a, b in p.spans} <= {p.text for p in phrases}
    maps = ShardedArray.of_folder(ready / "features" / "dense", rows_of(ready))
    maker = PARAMS.build(Colours(), stage_inputs.sample_cells(maps, 8, 64, seed=0))
    view = next(stage_inputs.read_views(inputs_of(ready), "00000", pytest.fail))
    found, count = maker.make_segments(view, [said])
    assert count["phrases"] == len(phrases)
    assert len(found) < 5


def test_another_parser_is_asked_for_by_its_path(
    ready: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stage_inputs, "parse_references", parse_references)
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(
        UserError, match=r"blank' lacks attribute_ruler, lemmatizer, parser, tagger"
    ):
        run(ready, "segments", replace(PARAMS, spacy_model=str(tmp_path / "blank")))


def test_a_picture_of_ten_pixels_goes_all_the_way() -> None:
    maker = PARAMS.build(Colours(), np.array([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.5, 0.5, 0.5]]))
    image = np.array([[COLOURS["red"]] * 5 + [GREY] * 5], np.uint8)
    said = CaptionPhrases("", (Phrase("a red ball", "phrase"),))
    found, count = maker.make_segments(View("u", image, dense=image / 255.0), [said])
    assert found == []
    assert (
        count["images"],
        count["boxes"],
        count["masks_too_small"],
        count["images_without_segments"],
    ) == (1, 1, 1, 1)


def test_nothing_to_do_says_why(ready: Path) -> None:
    with pytest.raises(UserError, match="no kept row of 'rule' in split 'test'"):
        run(ready, params=SegmentTextParams("rule", split="test"))


def test_regions_of_other_pairs_are_refused(ready: Path) -> None:
    write_packed(np.zeros((3, 32, 32), np.uint8), ready / "regions/labels/labels_00000.arrow")
    with pytest.raises(UserError, match="shard 00000: 4 images, 3 of regions"):
        run(ready)
    write_array(np.zeros((3, 8, 8, 3), np.float16), ready / "features/dense/dense_00001.npy")
    with pytest.raises(UserError, match="expected 2 rows, found 3"):
        run(ready)


def test_cells_come_from_all_shards_and_are_the_same_for_the_same_seed(ready: Path) -> None:
    maps = ShardedArray.of_folder(ready / "features" / "dense", rows_of(ready))
    cells = stage_inputs.sample_cells(maps, 8, 8 * stage_inputs.CELLS_PER_IMAGE, seed=0)
    assert cells.shape == (8 * stage_inputs.CELLS_PER_IMAGE, 3)
    assert np.array_equal(cells, stage_inputs.sample_cells(maps, 8, len(cells), seed=0))
    assert not np.array_equal(cells, stage_inputs.sample_cells(maps, 8, len(cells), seed=1))
    assert len(stage_inputs.sample_cells(maps, 8, 10, seed=0)) == 10


def rows_of(ready: Path) -> dict[str, int]:
    return Counter(read_pairs(ready / "pairs")["shard"].to_pylist())


def test_a_shard_that_lost_its_regions_or_features_is_one_line(ready: Path) -> None:
    for name in ("regions/labels/labels_00001.arrow", "features/dense/dense_00001.npy"):
        path = ready / name
        path.rename(path.with_suffix(".away"))
        try:
            with pytest.raises(
                UserError, match=rf"{path.name}: (no such file|cannot be read).*run `dvc repro`"
            ):
                run(ready, "elsewhere")
        finally:
            path.with_suffix(".away").rename(path)


def test_pairs_that_curation_lost_are_not_left_out_without_a_word(
    ready: Path, tmp_path: Path
) -> None:
    supervision = tmp_path / "supervision" / PARAMS.curation
    shutil.copytree(ready / "supervision" / PARAMS.curation, supervision)
    file = sorted(supervision.glob("*.parquet"))[0]
    write_table(pq.read_table(file).slice(2), file)
    inputs = replace(inputs_of(ready), supervision=tmp_path / "supervision")
    with pytest.raises(
        UserError, match=r"2 pairs of shard 0000\d have no row there; run `dvc repro curate`"
    ):
        stage_inputs.list_images(read_pairs(inputs.pairs), inputs, PARAMS)


def test_a_grounder_with_masks_of_its_own_needs_no_segmenter(ready: Path, tiny_sam3: str) -> None:
    params = replace(
        PARAMS,
        grounder="sam3",
        segmenter="none",
        sam3=Sam3(tiny_sam3, threshold=0.0, device="cpu"),
        min_stability=0.0,
        min_area=1,
    )
    shutil.rmtree(ready / "features")  # dense features are not read
    result = run(ready, params=params)
    table = read_tables(ready / "segments")
    assert set(table["source"].to_pylist()) == {"sam3"}
    assert result["phrases"] == 15  # and concepts
    assert result["boxes"] == 15 * QUERIES
    assert len(table) == result["segments"] > 0
    assert not any(table["full_image"].to_pylist())
