"""Sections of params.yaml that are fine by themselves and do not fit together are refused before
any work starts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captionseg.checks.check import check
from captionseg.checks.numbers import list_numbers
from captionseg.gate import regression
from captionseg.params import Params
from captionseg.records import UserError
from tests.captionseg.real_params import changed

ROOT = Path(__file__).parents[3]


def refused(tmp_path, changes: dict[str, Any]) -> str:
    """What is said of the real file with some values changed."""
    with pytest.raises(UserError) as caught:
        check(changed(tmp_path, changes))
    return str(caught.value)


RECIPE = {"curation": "cocu", "archive": "cocu"}


def use_recipe(**network: Any) -> dict[str, Any]:
    """USE on a DINOv3."""
    tower = {"name": "vit_base_patch16_dinov3", **network}
    return RECIPE | {"model": "use", "settings": {"crop": 512, "cell": 16, "networks": [tower]}}


TOGETHER = [
    (
        {"recipes.nouns-mil.model": "segment_mill"},
        "recipes.nouns-mil.model: 'segment_mill' is not valid (valid: segment_mil, groupvit, "
        "ovsegmentor, maskclip, sclip, naclip, proxyclip, tcl, code, use, sam3); did you mean "
        "'segment_mil'?",
    ),
    (
        {"recipes.nouns-mil.preset": "use_papr"},
        "recipes.nouns-mil: preset 'use_papr' is not valid (valid: groupvit_small, ",
    ),
    (
        {"recipes.nouns-mil.masks": {"maker": "hierarchy"}},
        "recipes.nouns-mil: masks: model segment_mil does not read segments; remove masks",
    ),
    (
        {"recipes.nouns-mil.masks": {"maker": "hierarchies"}},
        "recipes.nouns-mil.masks.maker: 'hierarchies' is not valid (valid: regions, hierarchy, "
        "sam_auto, sam2_auto); did you mean 'hierarchy'?",
    ),
    (
        {"recipes.nouns-mil.refine": {"method": "pamr", "sid": 3}},
        "recipes.nouns-mil.refine.sid: unknown parameter; did you mean 'side'?",
    ),
    (
        {"recipes.nouns-mil.curation": "entities"},
        "recipes.nouns-mil.curation: rule 'entities' is not in curate.rules "
        "(found: nouns, caption_retri",
    ),
    (
        {"recipes.nouns-mil.archive": "nuons"},
        "recipes.nouns-mil.archive: rule 'nuons' is not in curate.rules",
    ),
    (
        {"segment_text.curation": "entities"},
        "segment_text.curation: rule 'entities' is not in curate.rules",
    ),
    (
        {"curate.rules": ["cocu", "cocu_calibrated"]},
        "curate.rules: 'nouns' is missing (found: cocu, cocu_calibrated)",
    ),
    (
        {"curate.marks": {"boilerplate": {"file": "/no/such.txt"}}},
        "curate.marks.boilerplate.file: no such file or folder: '/no/such.txt'",
    ),
    (
        {"curate.marks": {"near": {"distance": 40}}},
        "curate.marks.near.distance: 40 is out of range (valid: 0 to 10; default: 4)",
    ),
    (
        {"gate": {"few leaks": "curation.dropped.leak <= 10"}},
        "gate.few leaks: metrics.json will not contain curation.dropped.leak",
    ),
    (
        {"curate.sampled": 7},
        "curate.sampled: 7 is more than the 6 concepts that curate.nouns.limit keeps",
    ),
    (
        {"curate.cocu.clusters": 9},
        "curate.cocu.clusters: 9 is more than the 6 concepts that curate.cocu.limit keeps; "
        "lower it, or raise curate",
    ),
    (
        {"validate.max_clusters": 2},
        "curate.cocu.clusters: 3 is more than validate.max_clusters (2); raise",
    ),
    (
        {"index.neighbours": 100},
        "curate.cocu.neighbours: 256 is more than index.neighbours (100); lower it",
    ),
    (
        {"index.caption_neighbours": 2},
        "curate.caption_retrieval.captions: 3 is more than index.caption_neighbours",
    ),
    (
        {"download.photo_scenes.train": 0},
        "download.photo_scenes.train: 0 leaves no pictures to train on",
    ),
    (
        {"recipes.a": RECIPE | {"settings": {"hiden": 3}}},
        "recipes.a.settings.hiden: unknown parameter; did you mean",
    ),
    (
        {"recipes.a": RECIPE | {"settings": {"hidden": 0}}},
        "recipes.a.settings.hidden: 0 is out of range",
    ),
    (
        {"recipes.a": RECIPE | {"training": {"epochs": 0}}},
        "recipes.a.training.epochs: 0 is out of range (valid: 1 to",
    ),
    (
        {"recipes.a": RECIPE | {"training": {"epoch": 1}}},
        "recipes.a.training.epoch: unknown parameter; did you mea",
    ),
    (
        {"evaluate.also": {"cocu-mill": ["tcl"]}},
        "evaluate.also.cocu-mill: unknown parameter; did you mean 'cocu-mil'?",
    ),
    (
        {"runtime.devices": 3},
        "pretrain.batch: 128 cannot be split evenly over the 3 processes of runtime.devices x",
    ),
    (
        {"pretrain.warmup": 9},
        "pretrain.warmup: schedule one_cycle has no warmup, found 9 steps; use schedule: poly",
    ),
    (
        {"pretrain.floor": 0.1, "pretrain.schedule": "poly"},
        "pretrain.floor: schedule poly has no floor, found 0.1; use schedule: warmup_cosine, or",
    ),
    (
        {"recipes.a": RECIPE | {"training": {"schedule": "warmup_cosine", "floor": 2}}},
        "recipes.a.training.floor: 2.0 is out of range (valid: 0 to 1",
    ),
    ({"gate": {"x": "this is no rule"}}, "gate.x: 'this is no rule' needs exactly one"),
    ({"gate": {"x": "foo >= 3"}}, "gate.x: metrics.json will not contain foo"),
    (
        {"gate": {"x": "recipes.cocu-mil.photo_scenes.miuo >= 3"}},
        "gate.x: metrics.json will not contain recipes.cocu-mil.photo_scenes.miuo; did you mean",
    ),
    (
        {"gate": {"x": "recipes.cocu-mill.photo_scenes.miou >= 3"}},
        "did you mean 'recipes.cocu-mil.photo_scenes.miou'",
    ),
    (
        {"gate": {"x": "recipes.cocu-mil.photo_scenes.miou >= nan"}},
        "gate.x: 'nan' is not a finite number",
    ),
    (
        {"regression": {"recipes.*.*.miuo": 1.0}},
        "regression.recipes.*.*.miuo: matches no number in metrics.json",
    ),
    (
        {"regression": {"recipes.*.*.miou": -1.0}},
        "regression.recipes.*.*.miou: -1.0 is out of range",
    ),
    ({"download.source": "folder"}, "download.folder.root: empty; give a path"),
    (
        {"download.source": "folder", "download.folder": {"root": "no/where"}},
        "download.folder.root: no such file or folder: 'no/where'",
    ),
    (
        {"curate.vocabulary.file": "words.txt"},
        "curate.vocabulary.file: no such file or folder: 'words.txt'",
    ),
    (
        {"index.encoder": "open_clip", "index.open_clip": {"tokenizer": "no/tokenizer"}},
        "index.open_clip.tokenizer: no such file or folder: 'no/tokenizer'",
    ),
    (
        {"segment_text.segmenter": "sam", "segment_text.sam": {"checkpoint": "sam.pth"}},
        "segment_text.sam.checkpoint: no such file or folder: 'sam.pth'",
    ),
    (
        {"segment_text.grounder": "sam3", "segment_text.sam3": {"checkpoint": "no/sam3"}},
        "segment_text: segmenter: superpixels would not be used, since the grounder sam3 makes "
        "masks itself; set segmenter: none",
    ),
    (
        {"segment_text.segmenter": "none"},
        "segment_text: segmenter: none, but the grounder relevance makes no masks; name one of",
    ),
    (
        {
            "segment_text.grounder": "sam3",
            "segment_text.segmenter": "none",
            "segment_text.sam3": {"checkpoint": "no/sam3"},
        },
        "segment_text.sam3.checkpoint: no such file or folder: 'no/sam3'",
    ),
    ({"regions": {"maker": "sam2"}}, "regions.sam2.checkpoint: empty; give a path"),
    ({"recipes.a": RECIPE | {"model": "sam3"}}, "recipes.a: sam3.weights: empty; give a path"),
    (
        {
            "recipes.a": RECIPE
            | {
                "model": "groupvit",
                "settings": {"towers": {"encoder": {"tokens": "pixels", "weights": "dino.pth"}}},
            }
        },
        "recipes.a: groupvit.towers.encoder.weights: no such file or folder: 'dino.pth'",
    ),
    (
        {
            "recipes.a": RECIPE
            | {
                "model": "groupvit",
                "settings": {
                    "towers": {
                        "encoder": {
                            "tokens": "pixels",
                            "backbone": "vit_small_patch16_dinov3",
                            "weights": "lvd1",
                        }
                    }
                },
            }
        },
        "recipes.a: networks: timm has no weights 'lvd1' of vit_small_patch16_dinov3 (tags: "
        "lvd1689m); or name a file",
    ),
    (
        {"recipes.a": RECIPE | {"model": "sclip"}},
        "recipes.a: index.encoder: model sclip replaces the attention of a ViT that is aligned "
        "with texts, and lite0_minilm has none; use open_clip with a ViT, siglip or tips",
    ),
    (
        {
            "recipes.a": RECIPE
            | {"model": "proxyclip", "settings": {"foundation": {"weights": "dino.pth"}}}
        },
        "recipes.a: proxyclip.foundation.weights: no such file or folder: 'dino.pth'",
    ),
    (
        {"recipes.a": use_recipe(weights="lvd1")},
        "recipes.a: networks: timm has no weights 'lvd1' of vit_base_patch16_dinov3 (tags: "
        "lvd1689m); or name a file",
    ),
    (
        {"recipes.a": use_recipe(weights="dinov3.pth")},
        "recipes.a: use.networks.weights: no such file or folder: 'dinov3.pth'",
    ),
    (
        {"recipes.a": RECIPE | {"model": "code"}},
        "index.keep_dense: recipes.a reads dense features in every step, but they are not stored; "
        "set it to true",
    ),
]


@pytest.mark.parametrize(("changes", "message"), TOGETHER)
def test_sections_that_do_not_fit_together(tmp_path, changes, message):
    said = refused(tmp_path, changes)
    assert message in said
    assert "Traceback" not in said


def test_recipes_that_read_pictures_or_stored_dense_features_are_taken(tmp_path):
    recipe = RECIPE | {"model": "tcl"}
    check(changed(tmp_path, {"recipes.a": recipe, "index.keep_dense": True}))
    check(changed(tmp_path, {"recipes.a": recipe | {"settings": {"picture": 224}}}))


def test_weights_may_be_a_tag_of_timm(tmp_path):
    check(changed(tmp_path, {"recipes.a": use_recipe(weights="lvd1689m")}))


def test_files_of_stages_that_are_done_may_be_gone(tmp_path):
    params = changed(tmp_path, {"curate.vocabulary.file": "words.txt"})
    check(params, done=("download", "caption", "index", "regions", "curate"))


def test_a_rule_of_a_recipe_that_an_experiment_leaves_out_is_said_and_not_refused(tmp_path, caplog):
    check(changed(tmp_path, {"gate": {"x": "recipes.elsewhere.photo_scenes.miou >= 3"}}))
    assert (
        "gate.x: metrics.json will not contain recipes.elsewhere.photo_scenes.miou" in caplog.text
    )


def test_rules_over_retrieval_are_taken(tmp_path):
    check(changed(tmp_path, {"regression": {"recipes.*.*.retrieval.r1": 1.0}}))


def test_numbers_of_a_run_are_those_that_it_has():
    known = list_numbers(Params(ROOT / "params.yaml"))
    had = {
        keys
        for keys, _ in regression.flatten_numbers(
            json.loads((ROOT / "reports" / "metrics.json").read_text())
        )
    }
    assert had
    assert had <= known


def test_a_gate_may_ask_how_many_pairs_are_marked(tmp_path):
    gate = {"few leaks": "curation.dropped.leak <= 10"}
    check(changed(tmp_path, {"gate": gate, "curate.marks": {"exact": {}}}))


@pytest.mark.parametrize(
    ("source", "fields", "said"),
    [
        ("table", {"path": "/gone/captions.csv"}, "path: no such file or folder: '/gone/capt"),
        ("table", {"path": "{here}", "images": "/gone"}, "images: no such file or folder: '/gone'"),
        ("table", {"path": ""}, "path: empty; give a path"),
        ("urls", {"path": "file:///gone.tsv"}, "path: no such file or folder: '/gone.tsv'"),
        ("shards", {"path": "/gone"}, "path: no such file or folder: '/gone'"),
        ("coco_captions", {"annotations": "/gone.json"}, "annotations: no such file or folder: "),
        ("coco_captions", {"annotations": "{here}"}, None),  # images are looked for beside it
        ("shards", {"path": "s3://bucket/shards"}, None),
        ("urls", {"path": "/gone/{00000..00009}.tsv"}, None),  # a pattern, and what it finds
    ],
)
def test_what_a_source_reads_on_this_machine_is_looked_for(tmp_path, source, fields, said):
    fields = {key: value.replace("{here}", str(tmp_path)) for key, value in fields.items()}
    changes = {"download": {"source": source, source: fields}, "gate": {}, "regression": {}}
    if said is None:
        check(changed(tmp_path, changes))
    else:
        assert f"download.{source}.{said}" in refused(tmp_path, changes)
