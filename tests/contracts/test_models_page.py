"""docs/models.md names every part that can be plugged in, with the licence that the code knows."""

from __future__ import annotations

import re
from pathlib import Path

import open_clip
import pytest
import timm

from captionseg.checks.licences import (
    LICENCES,
    NONE,
    YOURS,
    find_open_clip_licences,
    find_tower_licences,
)
from captionseg.experiments import read_experiment
from captionseg.modeling.layers.timm_tags import PACKAGED
from perf import part_costs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith("|---")
]
FAMILIES = ("index", "regions", "grounder", "segmenter", "masks")
OPEN_CLIP = [row for row in ROWS if row[0] in open_clip.list_models()]


def find_rows(name: str) -> list[list[str]]:
    return [row for row in ROWS if row[0].split(",")[0] == f"`{name}`"]


@pytest.mark.parametrize(
    ("family", "member"),
    [
        (family, member)
        for family in FAMILIES
        for member, licence in LICENCES[family].items()
        if licence not in (NONE, YOURS)
    ],
)
def test_every_member_with_weights_has_a_row_with_its_licence(family, member):
    rows = find_rows(member)
    assert rows
    assert {row[1] for row in rows} == {LICENCES[family][member]}


def test_licences_of_open_clips_models():
    assert len(OPEN_CLIP) > 20
    for row in OPEN_CLIP:
        found = find_open_clip_licences(row[0], "")
        assert row[1] == (found[0] if len(found) == 1 else "by tag"), row
        assert {*found} <= {"mit", "apple-ascl", "cc-by-nc-4.0"} or len(found) == 1


@pytest.mark.parametrize("name", part_costs.TOWERS)
def test_licences_of_image_towers(name):
    (row,) = find_rows(name)
    assert (row[1],) == find_tower_licences(name, "")
    assert int(row[4]) == part_costs.TOWERS[name]
    assert row[2] == PACKAGED or f"{name}.{row[2]}" in timm.list_pretrained(f"{name}.*")


def test_the_page_has_what_the_command_computes():
    """Of two small models; the command prints all."""
    cost = part_costs.compute_encoder("PE-Core-T-16-384")
    (row,) = [row for row in OPEN_CLIP if row[0] == "PE-Core-T-16-384"]
    sizes = f"{cost.image:.0f}, {cost.text:.0f}"
    assert row[2:5] == [sizes, f"{cost.gflop:.1f}", f"{cost.gib:.1f}"]
    cost = part_costs.compute_tower("tf_efficientnet_lite0", 224)
    (row,) = find_rows("tf_efficientnet_lite0")
    assert row[3:] == [f"{cost.image:.0f}", "224", f"{cost.gflop:.1f}", f"{cost.gib:.1f}"]


def test_recommendations_have_the_numbers_of_their_files():
    files = re.findall(r"\| ([^|]+) \| \[?`?paper/(3m_\w+)`?", PAGE)
    paths = sorted((ROOT / "experiments" / "paper").glob("3m_*.yaml"))
    assert sorted(name for _, name in files) == [path.stem for path in paths]
    for path in paths:
        experiment = read_experiment(path)
        assert experiment.cost is not None
        (row,) = [row for row in ROWS if f"paper/{path.stem}" in row[1]]
        *_, cost = experiment.cost.recipes.values()
        assert row[-4:] == [str(n) for n in (cost.trained, cost.frozen, cost.gib, cost.hours)]
