"""The files that the stages wrote, loaded on first use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from captionseg.benchmarks.areas import read as read_areas
from captionseg.benchmarks.areas import read_uids
from captionseg.curation.rules import RULES
from captionseg.datasets.pair_tables import (
    list_shards,
    read_classes,
    read_pairs,
    read_shard,
    read_truth,
)
from captionseg.datasets.shard_images import read_images
from captionseg.datasets.truth_masks import decode_mask
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.recipes import Recipe
from captionseg.records import NEIGHBOURS, RECALL, SEGMENTS, SUPERVISION, ClassTable
from captionseg.storage.folders import read_tables
from captionseg.storage.reading import read_array, read_json
from captionseg.supervision.parquet_files import from_table
from captionseg.training.curve import read as read_curve


@dataclass(frozen=True)
class Folders:
    """Paths of what the report reads. `recipes` has a JSON file per recipe, `areas` a table per
    recipe; `curation` and `validation` are JSON files.
    """

    prepared: PreparedFolders
    truth: Path
    supervision: Path
    segments: Path
    models: Path
    recipes: Path
    areas: Path
    curation: Path
    validation: Path


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of one run.

    Attributes:
        folders: their paths.
        recipes: recipes of params.yaml, in display order.
    """

    folders: Folders
    recipes: Mapping[str, Recipe]

    @cached_property
    def pairs(self) -> dict[str, dict[str, Any]]:
        """uid -> row of PAIRS with its shard, for every picture, in shard order."""
        rows = read_pairs(self.folders.prepared.pairs).to_pylist()
        return {row["uid"]: row for row in rows}

    @cached_property
    def statuses(self) -> list[str]:
        """The status of every source row, including failures."""
        pairs = self.folders.prepared.pairs
        return [
            status
            for shard in list_shards(pairs)
            for status in read_shard(pairs, shard)["status"].to_pylist()
        ]

    @cached_property
    def classes(self) -> ClassTable:
        """The classes of the truth; without names if there is no truth."""
        return read_classes(self.folders.truth)

    @cached_property
    def truth(self) -> pa.Table:
        """The truth, with schema TRUTH."""
        return read_truth(self.folders.truth)

    @cached_property
    def known_classes(self) -> dict[str, frozenset[str]]:
        """uid -> names of all classes in the picture, for pictures whose classes are known."""
        columns = self.truth["uid"].to_pylist(), self.truth["concepts"].to_pylist()
        return {uid: frozenset(names) for uid, names in zip(*columns, strict=True)}

    def masks(self, uids: Iterable[str]) -> dict[str, np.ndarray]:
        """uid -> true labels uint8 [H, W], for pictures with a true mask."""
        rows = of(self.truth, uids)
        columns = rows["uid"].to_pylist(), rows["mask"].to_pylist()
        return {uid: decode_mask(mask) for uid, mask in zip(*columns, strict=True) if mask}

    @cached_property
    def rules(self) -> list[str]:
        """Curation rules that ran, in the order of RULES, then variants by name."""
        names = {file.parent.name for file in self.folders.supervision.glob("*/[0-9]*.parquet")}
        return [*(name for name in RULES if name in names), *sorted(names - set(RULES))]

    def concepts(self, rule: str, uids: Iterable[str]) -> dict[str, list[tuple[str, float]]]:
        """uid -> the concepts that a rule gives a picture, with their scores, best first."""
        table = read_tables(self.folders.supervision / rule, schema=SUPERVISION)
        supervision = from_table(of(table, uids))
        rows = zip(supervision.uid, supervision.to_texts(), supervision.score.tolist(), strict=True)
        return {uid: list(zip(texts, scores)) for uid, texts, scores in rows}  # scores are padded

    @cached_property
    def rows(self) -> list[str]:
        """uid of every row of the index."""
        return list(self.folders.prepared.row_of())

    def neighbours(self, uids: Iterable[str], count: int) -> dict[str, list[str]]:
        """uid -> uids of the most similar pictures."""
        number = {uid: row for row, uid in enumerate(self.rows)}
        file = self.folders.prepared.index / NEIGHBOURS
        table = read_array(file, rows=len(self.rows))
        near = {uid: table[number[uid]].tolist() for uid in uids if uid in number}
        return {
            uid: [self.rows[row] for row in rows if row >= 0][:count] for uid, rows in near.items()
        }

    @cached_property
    def recall(self) -> dict[str, float]:
        """Recall of the approximate indexes; empty if the search was exact."""
        file = self.folders.prepared.index / RECALL
        return read_json(file) if file.exists() else {}

    @cached_property
    def segments(self) -> pa.Table:
        """The segments, with schema SEGMENTS."""
        return read_tables(self.folders.segments, schema=SEGMENTS)

    @cached_property
    def curation(self) -> dict[str, dict[str, float]]:
        """Measures by rule."""
        return read_json(self.folders.curation)

    @cached_property
    def validation(self) -> dict[str, Any]:
        """The results of the expectations."""
        return read_json(self.folders.validation)

    @cached_property
    def scores(self) -> dict[str, dict[str, Any]]:
        """recipe -> its evaluation, for recipes that were scored; none without a truth."""
        files = {name: self.folders.recipes / f"{name}.json" for name in self.recipes}
        evaluations = {name: read_json(file) for name, file in files.items() if file.exists()}
        return {
            name: evaluation for name, evaluation in evaluations.items() if evaluation["scores"]
        }

    @cached_property
    def areas(self) -> dict[str, np.ndarray]:
        """recipe -> areas [n, seeds, 3, C] of the scored pictures, in the same order for all."""
        files = self._area_files
        return dict(zip(self.scores, read_areas(files, len(self.classes.names)), strict=True))

    @cached_property
    def scored(self) -> list[str]:
        """uid of each of the n pictures of `areas`."""
        return read_uids(self._area_files)

    @property
    def _area_files(self) -> list[Path]:
        return [self.folders.areas / f"{name}.parquet" for name in self.scores]

    @cached_property
    def fits(self) -> dict[str, dict[int, dict[str, float]]]:
        """recipe -> seed -> fit.json, for recipes that were trained."""
        files = {name: self.of_seeds(name, "fit.json") for name in self.recipes}
        return {
            name: {seed: read_json(file) for seed, file in seeds.items()}
            for name, seeds in files.items()
            if seeds
        }

    @cached_property
    def curves(self) -> dict[str, dict[int, list[tuple[int, str, float]]]]:
        """recipe -> seed -> rows (step, name, value), for recipes that were trained."""
        files = {name: self.of_seeds(name, "curve.csv") for name in self.fits}
        return {
            name: {seed: read_curve(file) for seed, file in seeds.items()}
            for name, seeds in files.items()
            if seeds
        }

    def of_seeds(self, recipe: str, name: str) -> dict[int, Path]:
        """Return seed -> path of a file, for each seed of a recipe, lowest seed first."""
        files = {
            int(file.parent.name): file
            for file in (self.folders.models / recipe).glob(f"seeds/*/{name}")
        }
        return dict(sorted(files.items()))

    def images(self, uids: Iterable[str]) -> dict[str, np.ndarray]:
        """uid -> uint8 [H, W, 3]; only these pictures are decoded."""
        chosen = set(uids)
        shards = sorted({self.pairs[uid]["shard"] for uid in chosen})
        folder = self.folders.prepared.pairs
        return {uid: image for shard in shards for uid, image in read_images(folder, shard, chosen)}


def of(table: pa.Table, uids: Iterable[str]) -> pa.Table:
    """Return the rows of some pictures."""
    chosen = set(uids)
    return table.filter(pa.array([uid in chosen for uid in table["uid"].to_pylist()], pa.bool_()))
