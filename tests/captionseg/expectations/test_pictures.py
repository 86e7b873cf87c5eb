"""Pairs that share a picture, as a folder of several captions a picture gives, through the stages
to validation.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.corpus_captions import write_captions
from captionseg.encoders.text_space import TextSpace
from captionseg.expectations.coverage_tables import CoverageParams, Folders
from captionseg.expectations.params import ValidateParams
from captionseg.grounding.relevance import Relevance
from captionseg.segment_text.params import SegmentTextParams
from captionseg.segment_text.pipeline import Inputs, segment
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.superpixels import Superpixels
from captionseg.sources.folder import Folder
from captionseg.storage.reading import read_json
from captionseg.storage.writing import write_json, write_table
from tests.captionseg.conftest import make_world
from tests.imported_late import import_late

validation = import_late("captionseg.expectations.validate")
PICTURES = 14
ASKED = CoverageParams(["nouns", "cocu"], "train", "cocu")
PARAMS = ValidateParams(min_with_segments=0.9, max_full_image=1.0)


@pytest.fixture(scope="module")
def folders(toy: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """All stages up to segment_text over fourteen pictures of three captions each, all but one of
    them of train.
    """
    root = tmp_path_factory.mktemp("shared_pictures")
    (root / "given").mkdir()
    for number, sample in enumerate(
        toy.source.samples("train", [*range(5), *range(6, PICTURES + 1)], seed=0)
    ):
        left, right = sample.concepts
        (root / f"given/{number}.jpg").write_bytes(sample.jpeg)
        (root / f"given/{number}.txt").write_text(
            f"a {left} on the {right}\na {left}\nthe {right} by a {left}\n"
        )
    source = SimpleNamespace(
        source=Folder(str(root / "given"), tune=0.0, test=0.1, captions="each"), maker=toy.maker
    )
    world = make_world(root, source, toy.index_params(neighbours=8))
    write_captions(world.pairs, CaptionParams(), root / "captions")
    inputs = Inputs(
        world.pairs, root / "captions", world.supervision, world.features, world.regions
    )
    maker = Superpixels(maker=Felzenszwalb(side=32, min_size=20))
    params = SegmentTextParams("cocu", relevance=Relevance(threshold=0.1), superpixels=maker)
    segment(
        inputs,
        params,
        space=lambda: TextSpace.load(world.encoder),
        segments=root / "segments",
        seed=0,
    )
    write_json(world.measures, root / "curation.json")
    return Folders(
        **{
            f.name: root / (f.name if f.name != "curation" else "curation.json")
            for f in fields(Folders)
        }
    )


def test_a_run_over_pictures_of_three_captions_is_valid(folders: Folders, tmp_path: Path) -> None:
    validation().validate(
        folders,
        PARAMS,
        coverage_params=ASKED,
        docs=tmp_path / "docs",
        report=tmp_path / "report.json",
        failed=tmp_path / "failed",
    )
    assert read_json(tmp_path / "report.json")["success"]


def test_a_row_of_segments_per_image_is_a_picture(folders: Folders) -> None:
    frame = next(
        suite.read()
        for suite in validation().build_all_suites(folders, PARAMS, ASKED)
        if suite.name == "segments per image"
    )
    shards = {path.stem: pq.read_table(path) for path in sorted(folders.pairs.glob("*.parquet"))}
    train = {
        (shard, row["sha256"])
        for shard, table in shards.items()
        for row in table.to_pylist()
        if row["split"] == "train"
    }
    assert len(frame) == len(train)
    assert frame["segments"].sum() == sum(
        len(pq.read_table(p)) for p in folders.segments.glob("*.parquet")
    )


def counts(change: dict[str, int]) -> Callable[[Path], None]:
    def lose(segments: Path) -> None:
        found = read_json(segments / "00000_stats.json")
        write_json(
            {name: n + change.get(name, 0) for name, n in found.items()},
            segments / "00000_stats.json",
        )

    return lose


def rows(choose: Callable[[list[str]], list[bool]]) -> Callable[[Path], None]:
    def lose(segments: Path) -> None:
        table = pq.read_table(segments / "00000.parquet")
        write_table(table.filter(choose(table["uid"].to_pylist())), segments / "00000.parquet")

    return lose


@pytest.mark.parametrize(
    ("lose", "noticed"),
    [
        (lambda segments: None, ()),
        (counts({"pairs_joined": -1}), ("segments/00000_stats.json, pairs (19 rows of 20)",)),
        (
            counts({"images": -1, "images_without_segments": -1, "pairs_joined": 1}),
            ("segments/00000_stats.json, pictures (6 rows of 7)",),
        ),
        (
            rows(lambda uids: [uid != uids[0] for uid in uids]),
            ("segments/00000.parquet, pictures (6 rows of 7)",),
        ),
        (rows(lambda uids: [number > 0 for number in range(len(uids))]), ()),
    ],
    ids=[
        "nothing",
        "a caption",
        "a picture as a caption of another",
        "a picture's segments",
        "a segment",
    ],
)
def test_what_is_lost_of_shared_pictures_is_noticed(
    folders: Folders, tmp_path: Path, request, lose, noticed
) -> None:
    segments = Path(shutil.copytree(folders.segments, tmp_path / "segments"))
    lose(segments)
    found = validation().build_all_suites(replace(folders, segments=segments), PARAMS, ASKED)
    parts = next(suite.read() for suite in found if suite.name == "rows by shard")
    wrong = parts.loc[parts["rows"] != parts["expected"], "part"].tolist()
    assert set(noticed) <= set(wrong)
    assert bool(wrong) == ("nothing" not in request.node.callspec.id)
