"""The artifacts of a run that never was: drawn pictures, made-up scores, untrained models."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from captionseg.benchmarks import areas
from captionseg.datasets.download import write_shards
from captionseg.datasets.pair_tables import read_pairs
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.weights import saved
from captionseg.recipes import Recipe
from captionseg.records import IDS, NEIGHBOURS, SEGMENTS, ClassTable
from captionseg.reporting import heat, predictions
from captionseg.reporting.artifacts import Folders
from captionseg.segment_text.rle import encode as encode_masks
from captionseg.sources.source import Sample
from captionseg.storage.packed import write_packed
from captionseg.storage.writing import write_array, write_json, write_table
from captionseg.supervision import parquet_files
from captionseg.training.curve import Curve
from tests.captionseg.supervision.rows import Concept, supervision_of

NAMES, KINDS = ("square", "disc", "grass", "sky"), ("object", "object", "stuff", "stuff")
SIDE, WIDTH = 32, 8
RECIPES = {
    "nouns-mil": Recipe("nouns", "nouns", about="The baseline."),
    "cocu_control-mil": Recipe("nouns", "cocu", about="The control."),
    "cocu-mil": Recipe("cocu", "cocu", about="Curated <concepts> & all."),
}
MIOU = {"nouns-mil": 27.0, "cocu_control-mil": 29.5, "cocu-mil": 33.25}


@dataclass(frozen=True)
class Drawn:
    """A source of squares and discs on grass under the sky; captions name the object alone."""

    known: bool = True

    def prepare(self, folder=None):
        pass

    def licences(self):
        return ""

    def splits(self):
        return {"train": 9, "tune": 1, "test": 3}

    def classes(self):
        return ClassTable(NAMES, KINDS) if self.known else ClassTable((), ())

    def samples(self, split, numbers, *, seed):
        return [self.sample(split, number) for number in numbers]

    def sample(self, split, number):
        if split == "tune":
            return Sample("drawn:tune", "", split, status="failed_to_download", error="gone")
        y, x = np.mgrid[:SIDE, :SIDE]
        mask = np.where(y < SIDE // 2, 3, 2).astype(np.uint8)
        thing = number % 2
        centre = 8 + number
        square = np.maximum(abs(x - centre), abs(y - centre)) < 6
        mask[square if thing == 0 else np.hypot(x - centre, y - centre) < 6] = thing
        image = np.array([[200, 40, 40], [40, 40, 200], [40, 160, 40], [150, 200, 250]], np.uint8)[
            mask
        ]
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=90)
        concepts = (NAMES[thing], "grass", "sky") if self.known else ()
        caption = f"Two {NAMES[thing]}s <here>, number {number}"
        return Sample(
            f"drawn:{split}/{number}",
            caption,
            split,
            stream.getvalue(),
            SIDE,
            SIDE,
            concepts=concepts,
            mask=mask if self.known else None,
        )


def embed(texts):
    """Texts as unit vectors that their hash decides."""
    seeds = [int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "big") for t in texts]
    rows = np.stack([np.random.default_rng(seed).normal(size=WIDTH) for seed in seeds]).astype(
        np.float32
    )
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def load_fake_encoder(folder, *, device="auto"):
    """Stands for load_encoder, which would need the encoder's weights."""
    assert (folder / "encoder.json").exists()
    return SimpleNamespace(text=embed)


def write_index(folders):
    pairs = read_pairs(folders.prepared.pairs)
    n = len(pairs)
    rng = np.random.default_rng(0)
    ids = [
        {"row": i, "fold": 0, **row}
        for i, row in enumerate(pairs.select(["uid", "shard", "key", "split"]).to_pylist())
    ]
    write_table(pa.Table.from_pylist(ids, schema=IDS), folders.prepared.index / "ids.parquet")
    near = np.array([[(i + 1) % n, (i + 2) % n, -1] for i in range(n)], np.int32)
    write_array(near, folders.prepared.index / NEIGHBOURS)
    labels = np.stack([np.repeat(np.repeat(np.arange(4).reshape(2, 2), 4, 0), 4, 1)] * n).astype(
        np.uint8
    )
    pooled, count = rng.normal(size=(n, 4, 6)).astype(np.float16), np.full(n, 4, np.uint8)
    shard = np.array(pairs["shard"].to_pylist())
    for name in np.unique(shard):
        here, prepared = shard == name, folders.prepared
        write_array(count[here], prepared.regions / "count" / f"count_{name}.npy")
        write_packed(labels[here], prepared.regions / "labels" / f"labels_{name}.arrow")
        regions = pooled[here].reshape(-1, 6)
        write_array(regions, prepared.features / "regions" / f"regions_{name}.npy")
    write_json({}, folders.prepared.encoder / "encoder.json")


def write_supervision(folders):
    train = [
        row for row in read_pairs(folders.prepared.pairs).to_pylist() if row["split"] == "train"
    ]
    uid = np.array([row["uid"] for row in train], object)
    own = [NAMES[0] if "square" in row["caption"] else NAMES[1] for row in train]
    found = Concept("grass", 0.75), Concept("boat", 0.25)
    rows = {
        "nouns": [(Concept(o, rule="nouns"),) for o in own],
        "cocu": [(Concept(o, 1.5, rule="cocu"), *found) for o in own],
    }
    for rule, concepts in rows.items():
        parquet_files.write(
            supervision_of(uid, concepts), folders.supervision / rule / "00000.parquet"
        )
    write_json(
        {"squares": "square", "discs": "disc"}, folders.supervision / "vocabulary" / "lemma.json"
    )
    measures = {
        "concepts_per_image": 1.0,
        "kept": 1.0,
        "recall": 1 / 3,
        "precision": 1.0,
        "sampled_precision": 0.9,
    }
    write_json(
        {"nouns": measures, "cocu": {"concepts_per_image": 3.0, "kept": 1.0}}, folders.curation
    )


def write_segments(folders):
    rows = []
    for row in [r for r in read_pairs(folders.prepared.pairs).to_pylist() if r["split"] == "train"]:
        top = np.zeros((SIDE, SIDE), bool)
        top[: SIDE // 2] = True
        masks = np.stack([np.ones_like(top), top])
        rles, areas, boxes = encode_masks(masks)
        texts = [["a scene"], ["the sky", "grass"]]
        rows += [
            {
                "uid": row["uid"],
                "segment_id": f"{row['key']}-{i}",
                "width": SIDE,
                "height": SIDE,
                "rle": rles[i],
                "bbox": boxes[i].tolist(),
                "area": int(areas[i]),
                "stability": 1.0,
                "score": 1.0,
                "full_image": i == 0,
                "source": "x+y",
                "texts": [
                    {"text": text, "kind": kind, "score": 1.0}
                    for text, kind in zip(texts[i], ("phrase", "concept"), strict=False)
                ],
            }
            for i in range(2)
        ]
    write_table(pa.Table.from_pylist(rows, schema=SEGMENTS), folders.segments / "00000.parquet")
    write_json({"images": len(rows) // 2}, folders.segments / "00000_stats.json")


def write_models(folders, known):
    for number, name in enumerate(RECIPES):
        for seed in (0, 1):
            torch.manual_seed(number * 10 + seed)
            model = SegmentMil(
                SegmentMilConfig(region_width=6, text_width=WIDTH, hidden=4, width=4)
            )
            folder = folders.models / name / "seeds" / str(seed)
            saved.save(folder, "segment_mil", model, {"prompts": "simple", "recipe": name})
            curve = Curve(folder / "curve.csv", seed, lambda values, step: None)
            curve.resume(0)
            for epoch in range(2):
                for step in range(3):
                    curve.step(3 * epoch + step, {"loss": 5.0 - epoch - step / 4, "caption": 1.0})
                curve.epoch(3 * (epoch + 1), 20.0 + number + epoch if known else float("nan"))
            fit = {"loss": 3.5 + seed}
            write_json(fit | ({"tune_miou": 21.0 + number} if known else {}), folder / "fit.json")
        saved.save(
            folders.models / name, "segment_mil", model, {"prompts": "simple", "recipe": name}
        )


def write_scores(folders):
    pairs = read_pairs(folders.prepared.pairs).to_pylist()
    uids = [row["uid"] for row in pairs if row["split"] == "test"]
    for name, miou in MIOU.items():
        scores = {
            "miou": miou,
            "miou_low": miou - 2,
            "miou_high": miou + 2,
            "miou_std": 0.7,
            "pixel_accuracy": 50.0,
            "miou_object": miou - 1,
            "miou_stuff": miou + 1,
        }
        per_class = {n: miou + (-1) ** i * i * (miou - 26) for i, n in enumerate(NAMES)}
        write_json(
            {
                "recipe": name,
                "benchmark": "drawn",
                "scores": scores,
                "per_class": per_class,
                "seeds": {"0": miou - 0.5, "1": miou + 0.5},
            },
            folders.recipes / f"{name}.json",
        )
        # every picture alike, wrong pixels only in the truth
        right = np.array([[[8, 8, 8, 8]] * 3] * 3) * int(miou)
        right[:, 2] += 800 - right[:, 2]
        areas.write(np.stack([right] * 2, 1), uids, [0, 1], folders.areas / f"{name}.parquet")


def write_run(root: Path, *, known: bool = True) -> Folders:
    """All artifacts of a run under `root`."""
    data, reports = root / "data", root / "reports"
    prepared = PreparedFolders(*(data / name for name in ("pairs", "index", "regions", "features")))
    folders = Folders(
        prepared,
        data / "truth",
        data / "supervision",
        data / "segments",
        root / "models",
        reports / "recipes",
        reports / "areas",
        reports / "curation.json",
        reports / "validation.json",
    )
    write_shards(
        Drawn(known), folders.prepared.pairs, folders.truth, shard_size=20, min_success=0.0, seed=0
    )
    write_index(folders)
    write_supervision(folders)
    write_segments(folders)
    write_models(folders, known)
    folders.recipes.mkdir(parents=True)
    if known:
        write_scores(folders)
    table = {"rows": 13, "success": True, "expectations": [{"success": True}] * 4, "exceptions": []}
    write_json({"success": True, "statistics": {}, "tables": {"pairs": table}}, folders.validation)
    return folders


@pytest.fixture
def recipes():
    return dict(RECIPES)


@pytest.fixture
def fake_encoder(monkeypatch):
    for module in (predictions, heat):
        monkeypatch.setattr(module, "load_encoder", load_fake_encoder)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def unknown(tmp_path_factory):
    """The same without a truth: no masks, no concepts, no scores."""
    return write_run(tmp_path_factory.mktemp("unknown"), known=False)
