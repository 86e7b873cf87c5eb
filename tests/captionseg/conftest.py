"""A whole run in small, made by the library itself: pictures of two colours, an encoder that sees
colours and words.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

COLOURS = {
    "dog": (200, 40, 40),
    "cat": (40, 200, 40),
    "bird": (40, 40, 200),
    "grass": (160, 160, 20),
    "sand": (20, 160, 160),
    "water": (160, 20, 160),
}
OBJECTS, STUFF = list(COLOURS)[:3], list(COLOURS)[3:]
SIZE = 32

TINY_GROUPVIT = {
    "towers": {
        "encoder": {
            "tokens": "pixels",
            "size": 32,
            "width": 8,
            "heads": 2,
            "depths": [1, 1],
            "group_tokens": [4, 0],
            "groups": [4],
            "binding": "groupvit",
        },
        "text": {"kind": "clip", "width": 8, "depth": 1, "heads": 2, "vocabulary": 49408},
        "hidden": 8,
        "embedding": 4,
        "norm": "batch",
    },
    "zero_shot": {"readout": "groups", "score": "product"},
}
"""A GroupViT of eight channels on pixels, as changes of its config."""


@dataclass(frozen=True)
class TwoColours:
    """A pair source: left half an object, right half stuff; half of the captions leave the stuff
    out.
    """

    counts: tuple[tuple[str, int], ...] = (("train", 36), ("tune", 8), ("test", 8))
    failing: int = 5  # this row of the training split cannot be had

    def prepare(self, folder=None) -> None: ...

    def splits(self) -> dict[str, int]:
        return dict(self.counts)

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list:
        return [self.sample(split, number, seed) for number in numbers]

    def sample(self, split: str, number: int, seed: int):
        from captionseg.sources.source import Sample

        url = f"two_colours:{split}/{number}"
        if split == "train" and number == self.failing:
            return Sample(url, "a dog", split, status="failed_to_download", error="404")
        left, right = OBJECTS[number % 3], STUFF[(number // 3) % 3]
        mask = np.full((SIZE, SIZE), list(COLOURS).index(left), np.uint8)
        mask[:, SIZE // 2 :] = list(COLOURS).index(right)
        noise = np.random.default_rng([seed, number]).integers(-20, 20, (SIZE, SIZE, 3))
        pixels = np.clip(np.array(list(COLOURS.values()))[mask] + noise, 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=95)
        caption = f"a {left} on the {right}" if number % 2 else f"a {left}"
        return Sample(
            url, caption, split, stream.getvalue(), SIZE, SIZE, concepts=(left, right), mask=mask
        )

    def classes(self):
        from captionseg.records import ClassTable

        return ClassTable(tuple(COLOURS), ("object",) * 3 + ("stuff",) * 3)

    def licences(self) -> str:
        return ""


class ToyEncoder:
    """Mean colours of 4 x 4 cells; texts as sums of vectors of words. P = R = 48, F = 3, D = 16."""

    def __init__(self, *, aligned: bool, batch: int) -> None:
        self.aligned, self.batch, self.fine = aligned, batch, 0

    def features(self, images: Sequence[np.ndarray], reduction=None):
        from captionseg.encoders.encoder import Features, normalise

        small = [Image.fromarray(image).resize((4, 4), Image.Resampling.BOX) for image in images]
        dense = np.stack([np.asarray(s, np.float32) for s in small]) / 255.0
        pooled = dense.reshape(len(dense), -1)
        if self.aligned:
            rng = np.random.default_rng(0)
            return Features(
                *(normalise(pooled @ rng.normal(size=(48, 16))),) * 2,
                dense @ rng.normal(size=(3, 16)),
            )
        dense = reduction(dense) if reduction else dense
        return Features(pooled, normalise(pooled), dense)

    def text(self, texts: Sequence[str]) -> np.ndarray:
        from captionseg.encoders.encoder import normalise

        return normalise(
            np.stack([sum(map(word_vector, t.lower().replace(".", "").split())) for t in texts])
        )


@functools.cache
def word_vector(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
    return np.random.default_rng(seed).normal(size=16) * (
        0.1 if word in {"a", "on", "the", "photo", "of"} else 1.0
    )


@dataclass(frozen=True)
class ToyParams:
    aligned: bool = False
    batch: int = 5

    def build(self, runtime) -> ToyEncoder:
        return ToyEncoder(aligned=self.aligned, batch=self.batch)


@dataclass(frozen=True)
class Quadrants:
    """A region maker: four squares."""

    side: int = 8
    max_regions: int = 6

    def regions(self, image: np.ndarray) -> np.ndarray:
        half = np.arange(self.side) >= self.side // 2
        return (2 * half[:, None] + half).astype(np.uint8)


@pytest.fixture(scope="session")
def toy() -> Iterator[SimpleNamespace]:
    """The toy encoder and region maker, listed under "toy" while tests run; `index_params()` makes
    a section of it.
    """
    from captionseg.encoders.encoders import ENCODERS
    from captionseg.index_params import IndexParams
    from captionseg.segmenters.region_makers import REGION_MAKERS

    @dataclass(frozen=True)
    class ToyIndexParams(IndexParams):
        toy: ToyParams = field(default_factory=ToyParams)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "toy", ToyParams)  # type: ignore[arg-type]
        patch.setitem(REGION_MAKERS, "toy", Quadrants)  # type: ignore[arg-type]
        yield SimpleNamespace(
            params=ToyParams,
            maker=Quadrants(),
            source=TwoColours(),
            index_params=lambda **changes: ToyIndexParams(
                encoder="toy", **{"backend": "exact", "keep_dense": True, **changes}
            ),
        )


@dataclass(frozen=True)
class World:
    """Folders of a finished run up to curation, and its successful pairs."""

    pairs: Path
    truth: Path
    features: Path
    index: Path
    regions: Path
    supervision: Path
    table: object
    measures: dict

    @property
    def encoder(self) -> Path:
        return self.features / "encoder"

    @property
    def prepared(self):
        from captionseg.inference.prepared_folders import PreparedFolders

        return PreparedFolders(self.pairs, self.index, self.regions, self.features)

    @property
    def pooled(self) -> np.ndarray:
        """Features of the regions of every picture, padded."""
        from captionseg.segmenters.region_files import RegionFeatures

        return RegionFeatures.of_folders(self.regions, self.features)[np.arange(len(self.table))]

    @property
    def labels(self) -> np.ndarray:
        """Regions of every picture."""
        from captionseg.segmenters.region_files import map_labels

        return map_labels(self.regions)[np.arange(len(self.table))]


@pytest.fixture(scope="session")
def world(toy, tmp_path_factory) -> World:
    """Read-only: download, regions, index and curate over TwoColours."""
    return make_world(tmp_path_factory.mktemp("world"), toy, toy.index_params(neighbours=8))


def make_world(root: Path, toy: SimpleNamespace, index_params) -> World:
    """Download, regions, index and curate over TwoColours, with an encoder of one's choice."""
    from captionseg import indexing
    from captionseg.curation.cocu import CoCu
    from captionseg.curation.marked import Inputs
    from captionseg.curation.pipeline import Known, curate
    from captionseg.curation.rules import CurateParams
    from captionseg.datasets.download import write_shards
    from captionseg.datasets.pair_tables import read_pairs, read_truth
    from captionseg.encoders.text_space import TextSpace
    from captionseg.regioning import write_regions
    from captionseg.text.vocabulary import VocabularyParams

    names = ("pairs", "truth", "features", "index", "regions", "supervision")
    pairs, truth, features, index, regions, supervision = (root / name for name in names)
    write_shards(toy.source, pairs, truth, shard_size=20, min_success=0.5, seed=0)
    table = read_pairs(pairs)
    write_regions(pairs, regions, maker=toy.maker)
    indexing.build(
        pairs, table, index_params, features=features, index=index, seed=0, regions=regions
    )
    known = read_truth(truth)
    true = {
        u: set(c)
        for u, c in zip(known["uid"].to_pylist(), known["concepts"].to_pylist(), strict=True)
    }
    params = CurateParams(
        ["nouns", "cocu"],
        vocabulary=VocabularyParams(minimum=2),
        cocu=CoCu(neighbours=8, minimum_support=2),
    )
    encode = TextSpace.load(features / "encoder").encode
    inputs = Inputs(pairs, index, features)
    measures = curate(inputs, encode, params, known=Known(true), supervision=supervision, seed=0)
    return World(pairs, truth, features, index, regions, supervision, table, measures)


@pytest.fixture(scope="session")
def searchable(world, tmp_path_factory) -> SimpleNamespace:
    """Read-only: `data`, the folders of a run with segments beside them, and `model`, a `use` that
    tells colours apart.

    Segments are the true halves of all pictures but the last, in shards 00000 and 00002; 00001 is
    empty. Which class row n of them shows is `classes[n]`.
    """
    import shutil

    import pyarrow as pa

    from captionseg.datasets.pair_tables import read_truth
    from captionseg.datasets.truth_masks import decode_mask
    from captionseg.records import SEGMENTS
    from captionseg.segment_text.rle import encode
    from captionseg.storage.writing import write_table

    root = tmp_path_factory.mktemp("searchable")
    for name in ("pairs", "truth", "features", "index", "regions"):
        (root / name).symlink_to(getattr(world, name))
    truth, names, rows = read_truth(world.truth).to_pylist()[:-1], list(COLOURS), []
    for known in truth:
        classes = [names.index(concept) for concept in known["concepts"]]
        rles, areas, boxes = encode(decode_mask(known["mask"]) == np.array(classes)[:, None, None])
        rows += [
            {
                "uid": known["uid"],
                "segment_id": f"{known['uid']}-{c}",
                "width": SIZE,
                "height": SIZE,
                "rle": rle,
                "area": area,
                "bbox": box,
                "stability": 1.0,
                "score": 1.0,
                "full_image": False,
                "source": "truth",
                "texts": [
                    {"text": text, "kind": "phrase", "score": score}
                    for text, score in (("something", 0.5), (f"a {names[c]}", 0.9))
                ],
            }
            for c, rle, area, box in zip(classes, rles, areas, boxes, strict=True)
        ]
    for shard, part in (("00000", rows[:45]), ("00001", []), ("00002", rows[45:])):
        write_table(
            pa.Table.from_pylist(part, schema=SEGMENTS), root / "segments" / f"{shard}.parquet"
        )
    save_colour_model(root / "use", world.encoder)
    shutil.copytree(world.encoder, root / "use" / "encoder")
    classes = [names.index(concept) for known in truth for concept in known["concepts"]]
    return SimpleNamespace(
        data=root,
        segments=root / "segments",
        model=root / "use",
        prepared=world.prepared,
        classes=classes,
    )


def save_colour_model(folder: Path, encoder: Path) -> None:
    """A `use` whose head alone was fitted, to the features of plain colours and their words."""
    import torch
    from torch.nn import functional as F

    from captionseg.encoders.text_space import load_encoder
    from captionseg.modeling.use import Use
    from captionseg.modeling.use_config import UseConfig
    from captionseg.modeling.weights import saved
    from captionseg.text.prompts import SEGMENT, embed_classes

    torch.manual_seed(0)
    model = Use(UseConfig(towers=((3,),), text_width=16, cls=False))
    frozen = load_encoder(encoder)
    plain = frozen.features(
        [np.full((4, 4, 3), colour, np.uint8) for colour in COLOURS.values()]
    ).dense[:, 0, 0]
    colours = F.layer_norm(torch.from_numpy(plain), (3,))
    words = torch.from_numpy(embed_classes(list(COLOURS), frozen.text, SEGMENT))
    with torch.no_grad():
        model.encoder.towers[0].linears[0].weight.copy_(torch.eye(3))  # type: ignore[index,union-attr]
        model.encoder.towers[0].linears[0].bias.zero_()  # type: ignore[index,union-attr]
    optimiser = torch.optim.Adam(model.encoder.head.parameters(), 0.05)
    for _ in range(200):
        cosine = F.normalize(model.encoder.head(colours), dim=1) @ words.T
        loss = F.cross_entropy(30 * cosine, torch.arange(6)) + F.cross_entropy(
            30 * cosine.T, torch.arange(6)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.5, loss
    saved.save(folder, "use", model, {"prompts": "simple", "regions": {"maker": "toy"}})


@pytest.fixture(scope="session")
def grounding_dino():
    """A Grounding DINO of half a million random weights, and the packaged word pieces of BERT."""
    import torch
    from transformers import (
        AutoTokenizer,
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        SwinConfig,
    )

    from captionseg.storage.folders import find_package_file
    from captionseg.text.tokenizers import DEFAULT_BERT

    torch.manual_seed(0)
    bert = BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    swin = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_indices=[2, 3, 4],
    )
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        num_queries=12,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    tokenizer = AutoTokenizer.from_pretrained(
        str(find_package_file(*DEFAULT_BERT)), local_files_only=True
    )
    return GroundingDinoForObjectDetection(config).eval(), tokenizer
