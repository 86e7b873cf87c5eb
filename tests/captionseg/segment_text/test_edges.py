"""What can go wrong with a picture or its caption goes through the whole stage, and each loss has
its count.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.corpus_captions import write_captions
from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_pairs
from captionseg.datasets.shard_images import read_images
from captionseg.grounding.grounding_dino import GroundingDino
from captionseg.grounding.relevance import Relevance
from captionseg.records import ClassTable
from captionseg.regioning import write_regions
from captionseg.segment_text.params import SegmentTextParams
from captionseg.segment_text.pipeline import segment
from captionseg.segment_text.stage_inputs import Inputs
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.superpixels import Superpixels
from captionseg.sources.source import Sample
from captionseg.storage.folders import read_tables
from captionseg.storage.writing import write_array
from captionseg.supervision import parquet_files
from tests.captionseg.supervision.rows import Concept, supervision_of

RED, GREY = (220, 30, 30), (120, 120, 120)
LONG = "A red ball lies on the ground. A green cup is beside a blue door. " * 200
MAKER = Superpixels(maker=Felzenszwalb(side=32, min_size=20))
RELEVANCE = SegmentTextParams("rule", relevance=Relevance(threshold=0.7), superpixels=MAKER)
CELLS = replace(RELEVANCE, relevance=Relevance(threshold=0.7, regions=False), min_stability=0.0)


def square(height: int = 64, width: int = 64) -> np.ndarray:
    """Grey, and red in the middle."""
    image = np.full((height, width, 3), GREY, np.uint8)
    image[height // 4 : height - height // 4, width // 4 : width - width // 4] = RED
    return image


SCENES = {  # name: picture, caption; what is after a comma is another pair of the same picture
    "plain": (square(), "a red square"),
    "plain, again": (square(), "red paint on a blue door"),
    "nothing grounded": (square(), "a blue door"),
    "empty": (square(), ""),
    "punctuation": (square(), " ?! ... "),
    "long": (square(), LONG),
    "ten pixels": (square(2, 5), "a red ball"),
    "a line": (square(1, 10), "a red ball"),
    "one pixel": (square(1, 1), "a red ball"),
    "vanishing": (np.full((64, 64, 3), GREY, np.uint8), "a red crumb"),
}


class Scenes:
    """A pair source of SCENES."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def __repr__(self) -> str:
        return f"Scenes({self.names})"

    def prepare(self, folder=None) -> None: ...

    def splits(self) -> dict[str, int]:
        return {"train": len(self.names)}

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        return [self.sample(split, self.names[number]) for number in numbers]

    def sample(self, split: str, name: str) -> Sample:
        image, caption = SCENES[name]
        stream = io.BytesIO()
        comment = name.partition(", ")[
            0
        ].encode()  # so that files of two scenes are not the same picture
        Image.fromarray(image).save(stream, "JPEG", quality=98, subsampling=0, comment=comment)
        return Sample(
            f"scene:{name}", caption, split, stream.getvalue(), image.shape[1], image.shape[0]
        )

    def classes(self) -> ClassTable:
        return ClassTable((), ())

    def licences(self) -> str:
        return ""


class Colours:
    """Texts that name a colour point to it, others to white; dense features are colours."""

    axes = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "": (1, 1, 1)}  # noqa: RUF012

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return self.project_dense(
            np.array([next(v for k, v in self.axes.items() if k in text) for text in texts])
        )

    def project_dense(self, dense: np.ndarray) -> np.ndarray:
        dense = dense.astype(np.float32)
        return dense / np.linalg.norm(dense, axis=-1, keepdims=True)


def prepare(folder: Path, names: Sequence[str], concepts: Sequence[Concept] = ()) -> Inputs:
    """All that earlier stages leave of some scenes, in shards of two; the features of "vanishing"
    have one red cell.
    """
    inputs = Inputs(
        *(folder / name for name in ("pairs", "captions", "supervision", "features", "regions"))
    )
    write_shards(
        Scenes(names), inputs.pairs, folder / "truth", shard_size=2, min_success=0.5, seed=0
    )
    write_captions(inputs.pairs, CaptionParams(), inputs.captions)
    rows = read_pairs(inputs.pairs).to_pylist()
    name = {row["uid"]: row["url"].removeprefix("scene:") for row in rows}
    for shard in sorted({row["shard"] for row in rows}):
        maps = []
        for uid, image in read_images(inputs.pairs, shard):
            cells = (
                np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.NEAREST)) / 255
            )
            if name[uid] == "vanishing":
                cells[3, 3] = np.array(RED) / 255
            maps.append(cells)
        write_array(
            np.stack(maps).astype(np.float16), inputs.features / "dense" / f"dense_{shard}.npy"
        )
    write_regions(inputs.pairs, inputs.regions, maker=MAKER.maker)
    for shard in {row["shard"] for row in rows}:
        uids = np.array([row["uid"] for row in rows if row["shard"] == shard], object)
        archive = supervision_of(uids, [concepts] * len(uids))
        parquet_files.write(archive, inputs.supervision / "rule" / f"{shard}.parquet")
    return inputs


def counted(
    folder: Path, names: Sequence[str], params: SegmentTextParams = RELEVANCE, **options
) -> dict[str, int]:
    """The counts of a run that are not zero, as in its stats files; the summary has the same."""
    inputs = prepare(folder, names, **options)
    found = segment(inputs, params, space=Colours, segments=folder / "segments", seed=0)
    stats = [
        json.loads(path.read_text()) for path in sorted((folder / "segments").glob("*_stats.json"))
    ]
    total = {name: sum(part[name] for part in stats) for name in stats[0]}
    assert {name: found[name] for name in total} == total
    rows = read_tables(folder / "segments")
    assert (total.pop("segments"), total.pop("texts")) == (
        len(rows),
        sum(map(len, rows["texts"].to_pylist())),
    )
    return {name: value for name, value in total.items() if value}


def texts(folder: Path) -> list[tuple[str, int]]:
    rows = read_tables(folder / "segments").to_pylist()
    return [(text["text"], text["count"]) for row in rows for text in row["texts"]]


def test_a_plain_picture_to_compare_with(tmp_path: Path) -> None:
    assert counted(tmp_path, ["plain"]) == {"images": 1, "captions": 1, "phrases": 1, "boxes": 1}
    assert texts(tmp_path) == [("a red square", 1)]


def test_pairs_of_one_picture_are_one_image_with_both_captions(tmp_path: Path) -> None:
    concepts = [Concept("red")]
    assert counted(tmp_path, ["plain", "plain, again"], concepts=concepts) == {
        "images": 1,
        "pairs_joined": 1,
        "captions": 2,
        "phrases": 4,
        "phrases_without_box": 1,
        "expressions": 1,
        "boxes": 3,
        "masks_merged": 2,
    }
    (row,) = read_tables(tmp_path / "segments").to_pylist()
    assert row["uid"] == read_pairs(tmp_path / "pairs")["uid"][0].as_py()
    assert {(text["text"], text["caption"], text["count"]) for text in row["texts"]} == {
        ("a red square", 0, 1),
        ("red paint", 1, 1),
        ("red paint on a blue door", 1, 1),
        ("red", -1, 1),
    }


def test_a_picture_that_no_phrase_grounds(tmp_path: Path) -> None:
    assert counted(tmp_path, ["plain", "nothing grounded"]) == {
        "images": 2,
        "captions": 2,
        "phrases": 2,
        "boxes": 1,
        "phrases_without_box": 1,
        "images_without_boxes": 1,
        "images_without_segments": 1,
    }
    assert texts(tmp_path) == [("a red square", 1)]


@pytest.mark.parametrize("name", ["empty", "punctuation"])
def test_a_caption_that_says_nothing(tmp_path: Path, name: str) -> None:
    assert counted(tmp_path, [name]) == {
        "images": 1,
        "captions": 1,
        "captions_empty": 1,
        "images_without_phrases": 1,
        "images_without_segments": 1,
    }
    assert len(read_tables(tmp_path / "segments")) == 0


@pytest.mark.parametrize("name", ["empty", "punctuation"])
def test_curated_concepts_are_found_though_the_caption_says_nothing(
    tmp_path: Path, name: str
) -> None:
    concepts = [Concept("red"), Concept("...")]
    assert counted(tmp_path, [name], concepts=concepts) == {
        "images": 1,
        "captions": 1,
        "captions_empty": 1,
        "phrases": 1,
        "boxes": 1,
    }
    assert texts(tmp_path) == [("red", 1)]


def test_a_caption_of_three_thousand_words(tmp_path: Path) -> None:
    assert len(LONG.split()) == 3000
    count = counted(tmp_path, ["long", "plain"])
    assert (count["images"], count["captions"]) == (2, 2)
    assert "captions_cut" not in count  # phrases are read by themselves
    assert "A red ball" in {text for text, _ in texts(tmp_path)}


@pytest.mark.parametrize("name", ["ten pixels", "a line", "one pixel"])
def test_a_picture_of_ten_pixels_and_less(tmp_path: Path, name: str) -> None:
    image = SCENES[name][0]
    small = replace(RELEVANCE, min_area=1, min_stability=0.0)
    count = counted(tmp_path, [name, "plain", "empty"], small)
    assert count["images"] == 3
    uid = read_pairs(tmp_path / "pairs")["uid"][0].as_py()
    rows = [row for row in read_tables(tmp_path / "segments").to_pylist() if row["uid"] == uid]
    for row in rows:
        assert (row["height"], row["width"]) == image.shape[:2]
        assert 1 <= row["area"] <= image.shape[0] * image.shape[1]
    assert len(rows) == 1
    # the one without a caption
    assert count["images_without_segments"] == count["images_without_phrases"] == 1


def test_a_picture_of_ten_pixels_is_too_small_by_default(tmp_path: Path) -> None:
    count = counted(tmp_path, ["ten pixels", "plain"])
    assert (count["masks_too_small"], count["images_without_segments"]) == (1, 1)
    assert texts(tmp_path) == [("a red square", 1)]


def test_a_mask_that_vanishes(tmp_path: Path) -> None:
    """The box is a small part of the only region, so that no region lies in it."""
    assert counted(tmp_path, ["vanishing", "plain"], CELLS) == {
        "images": 2,
        "captions": 2,
        "phrases": 2,
        "boxes": 2,
        "masks_empty": 1,
        "images_without_segments": 1,
    }
    assert texts(tmp_path) == [("a red square", 1)]


def test_all_of_them_together_are_counted_as_they_are_apart(tmp_path: Path) -> None:
    """The grounder hears of a whole shard's phrases at once; nothing else connects pictures."""
    count = counted(tmp_path, list(SCENES))
    assert (count["images"], count["captions"], count["captions_empty"]) == (9, 10, 2)
    assert count["images_without_phrases"] == 2
    uids = read_tables(tmp_path / "segments")["uid"].to_pylist()
    assert len(set(uids)) == 9 - count["images_without_segments"]


# -------------------------------------------------------------------------------- Grounding DINO


@pytest.fixture
def checkpoint(tmp_path: Path, grounding_dino) -> str:
    """The small Grounding DINO on disk."""
    from transformers import GroundingDinoImageProcessor

    for part in (
        *grounding_dino,
        GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 160}),
    ):
        part.save_pretrained(tmp_path / "grounding_dino")
    return str(tmp_path / "grounding_dino")


def test_grounding_dino_reads_long_empty_and_pointless_captions_of_all_pictures(
    tmp_path: Path, checkpoint
) -> None:
    params = replace(
        RELEVANCE,
        grounder="grounding_dino",
        min_area=1,
        superpixels=replace(MAKER, share=0.001, offset=0.0),  # its boxes are small and anywhere
        grounding_dino=GroundingDino(checkpoint, threshold=0.0, device="cpu"),
    )
    names = ["long", "empty", "punctuation", "a line", "plain"]
    count = counted(tmp_path, names, params, concepts=[Concept("red")])
    assert (count["images"], count["captions"], count["captions_empty"], count["captions_cut"]) == (
        5,
        5,
        2,
        1,
    )
    # the long one is read in pieces, each of twelve boxes
    assert count["boxes"] + count["boxes_unassigned"] > 12 * 5
    rows = read_tables(tmp_path / "segments").to_pylist()
    said = {
        row["uid"]: row["url"].removeprefix("scene:")
        for row in read_pairs(tmp_path / "pairs").to_pylist()
    }
    for row in rows:
        if said[row["uid"]] in ("empty", "punctuation"):
            assert {(text["text"], text["caption"]) for text in row["texts"]} == {("red", -1)}
    found = {said[row["uid"]] for row in rows}
    assert len(found) == 5 - count.get("images_without_segments", 0)
    # several boxes, one segment
    assert any(text["count"] > 1 for row in rows for text in row["texts"])
