"""A recipe's seeds from saved models to scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.evaluate import scores
from captionseg.benchmarks.own_split import HeldOut
from captionseg.benchmarks.params import EvaluateParams
from captionseg.benchmarks.recipe import evaluate, use_threads
from captionseg.inference.protocols import PROTOCOLS
from captionseg.inference.refine import RefineParams
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.use import Use
from captionseg.modeling.use_config import UseConfig
from captionseg.modeling.weights import saved
from captionseg.records import UserError
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.hierarchy import Hierarchy
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.typed import build


@pytest.fixture
def folders(world) -> Folders:
    return Folders(world.prepared, world.truth)


@pytest.fixture
def model(world, tmp_path):
    """Two seeds of random weights."""
    width = world.pooled.shape[2]
    for seed in (0, 10):
        torch.manual_seed(seed)
        net = SegmentMil(SegmentMilConfig(width, 16, hidden=8, width=4))
        saved.save(tmp_path / "seeds" / str(seed), "segment_mil", net, {"prompts": "simple"})
    return tmp_path


def test_scores_of_all_seeds(folders, model):
    params = EvaluateParams(bootstrap=20, device="cpu")
    found = evaluate(model, folders, params, seed=0)
    result, areas = found.result, found.areas
    assert areas.shape == (8, 2, 3, 6)
    assert areas[:, :, 2].sum() == 2 * 8 * 32 * 32  # every pixel is counted once
    assert (found.seeds, len(found.uids)) == ([0, 10], 8)
    assert result["seeds"].keys() == {"0", "10"}
    assert result["scores"]["miou"] == pytest.approx(
        np.mean(list(result["seeds"].values())), abs=1e-3
    )
    assert {"miou_object", "miou_stuff"} <= result["scores"].keys()
    assert set(result["per_class"]) <= {"dog", "cat", "bird", "grass", "sand", "water"}
    same = scores(
        list(areas.swapaxes(0, 1)),
        samples=20,
        seed=0,
        groups={"object": np.arange(6) < 3, "stuff": np.arange(6) >= 3},
    )
    assert result["scores"] == same | {"boundary_f": result["scores"]["boundary_f"]}
    assert 0 < result["scores"]["boundary_f"] < 100
    assert found.images_per_second > 0
    assert evaluate(model, folders, params, seed=0).result == result


def test_a_recipe_may_say_how_its_masks_are_refined(folders, model, monkeypatch):
    """Saved with the model; the params' own word comes before it."""
    from captionseg.inference import labelling

    seen, real = [], labelling.label_pixels
    monkeypatch.setattr(
        labelling, "label_pixels", lambda *given: seen.append(given[3].refine) or real(*given)
    )
    params = EvaluateParams(bootstrap=2, device="cpu")
    evaluate(model, folders, params, seed=0)
    net = saved.load(model / "seeds" / "0").model
    for seed in (0, 10):
        context = {"prompts": "simple", "refine": {"method": "segments", "side": 112}}
        saved.save(model / "seeds" / str(seed), "segment_mil", net, context)
    evaluate(model, folders, params, seed=0)
    evaluate(
        model,
        folders,
        EvaluateParams(bootstrap=2, device="cpu", refine=RefineParams("none")),
        seed=0,
    )
    assert [given.method for given in seen[::16]] == ["none", "segments", "none"]


def test_a_thread_for_regions_and_as_many_as_before_after_it():
    before = torch.get_num_threads()
    with use_threads(1):
        assert torch.get_num_threads() == 1
    with pytest.raises(KeyError), use_threads(1):
        raise KeyError
    assert torch.get_num_threads() == before


def test_without_a_truth_nothing_is_scored(folders, model, caplog):
    params = EvaluateParams(split="val", device="cpu")
    found = evaluate(model, folders, params, seed=0)
    assert found.result == {"scores": {}, "per_class": {}, "seeds": {}}
    assert found.areas.shape == (0, 2, 3, 0)
    assert "no masks for split 'val', so nothing is scored" in caplog.text


def test_a_model_without_seeds_is_one_line(folders, tmp_path):
    with pytest.raises(UserError, match="no trained seed"):
        evaluate(tmp_path, folders, EvaluateParams(), seed=0)


def test_classes_that_no_text_of_training_named_are_scored_apart(folders, model):
    params = EvaluateParams(bootstrap=5, device="cpu")
    (model / "concepts.txt").write_text("dog\ncat\nbird\n")
    result = evaluate(model, folders, params, seed=0).result
    assert result["scores"]["miou_seen"] == result["scores"]["miou_object"]
    assert result["scores"]["miou_unseen"] == result["scores"]["miou_stuff"]
    (model / "concepts.txt").write_text(
        "\n".join(["dog", "cat", "bird", "grass", "sand", "water", "more"])
    )
    result = evaluate(model, folders, params, seed=0).result
    assert not {"miou_seen", "miou_unseen"} & result["scores"].keys()


@pytest.mark.parametrize("method", ["pamr", "segments"])
def test_masks_are_refined_before_each_pixel_takes_its_class(folders, model, method):
    """Four squares of one region each: segments change nothing, PAMR nothing but borders."""
    params = EvaluateParams(
        bootstrap=5, device="cpu", refine=RefineParams(method, side=16, iterations=2)
    )
    plain, before, *_ = evaluate(model, folders, EvaluateParams(bootstrap=5, device="cpu"), seed=0)
    result, after, *_ = evaluate(model, folders, params, seed=0)
    assert after[:, :, 2].sum() == before[:, :, 2].sum()
    assert (plain.pop("protocol"), result.pop("protocol")) == (
        {"prompts": "simple", "refine": "none"},
        {"prompts": "simple", "refine": method},
    )
    if method == "segments":
        assert result == plain
    else:
        assert not np.array_equal(before, after)


@pytest.mark.parametrize(
    ("name", "prompts", "refine"),
    [("groupvit", "simple", "none"), ("tcl", "tcl", "pamr"), ("use", "imagenet", "none")],
)
def test_any_model_under_any_protocol(folders, model, name, prompts, refine):
    """A model on regions has no pixels, groups or segments; prompts and refinement are the
    protocol's.
    """
    result, areas, *_ = evaluate(
        model, folders, EvaluateParams(bootstrap=5, device="cpu", protocol=name), seed=0
    )
    said = result["protocol"]
    assert (said["name"], said["prompts"], said["refine"]) == (name, prompts, refine)
    assert said["source"] == PROTOCOLS[name].source
    whole, background = (
        "windows: it sees a picture whole, as features",
        "background: none of the classes",
    )
    assert (
        said["skipped"]
        == {
            "groupvit": [
                whole,
                "product of softmaxes over the likeliest classes: it has no groups",
                background,
            ],
            "tcl": [whole, background],
            "use": ["masks: it reads no segments"],
        }[name]
    )
    plain, before, *_ = evaluate(model, folders, EvaluateParams(bootstrap=5, device="cpu"), seed=0)
    assert "name" not in plain["protocol"]
    # other prompts or PAMR change some pixel
    assert np.array_equal(areas, before) == (name == "groupvit")


def test_by_its_own_protocol_and_by_those_of_papers_beside_it(folders, model):
    params = EvaluateParams(
        bootstrap=5, device="cpu", also={"mine": ("use", "tcl"), "other": ("groupvit",)}
    )
    found = evaluate(model, folders, params, seed=0, recipe="mine")
    plain = evaluate(model, folders, EvaluateParams(bootstrap=5, device="cpu"), seed=0)
    np.testing.assert_array_equal(found.areas, plain.areas)
    also = found.result.pop("also")
    assert found.result == plain.result
    for name in ("use", "tcl"):
        alone = EvaluateParams(bootstrap=5, device="cpu", protocol=name)
        assert also[name] == evaluate(model, folders, alone, seed=0).result
    with pytest.raises(
        UserError, match=r"evaluate.also.mine.0: 'coco' is not valid \(valid: groupvit, tcl, use, "
    ):
        build(EvaluateParams, {"also": {"mine": ["coco"]}}, "evaluate")


@pytest.fixture
def use(world, tmp_path):
    """A seed of random weights that reads segments."""
    torch.manual_seed(0)
    net = Use(UseConfig(towers=((3,),), text_width=16))
    saved.save(tmp_path / "use" / "seeds" / "0", "use", net, {"prompts": "simple"})
    return tmp_path / "use"


def test_masks_of_things_are_scored_where_a_model_reads_segments(folders, use, model):
    params = EvaluateParams(bootstrap=5, device="cpu")
    plain, areas, *_ = evaluate(use, folders, params, seed=0)
    assert {"mask_map", "mask_map_50", "mask_map_75"} <= plain["scores"].keys()
    assert plain["mask_ap"].keys() == {"dog", "cat", "bird"}
    assert plain["scores"]["mask_coverage"] == 100.0
    assert plain["protocol"] == {
        "prompts": "simple",
        "refine": "none",
        "masks": "regions",
        "aggregate": "sum",
        "max_detections": 100,
    }
    hierarchy = MasksParams(
        "hierarchy", hierarchy=Hierarchy(maker=Felzenszwalb(side=16, min_size=4))
    )
    asked = replace(params, masks=hierarchy, max_detections=7)
    result, others, *_ = evaluate(use, folders, asked, seed=0)
    assert (result["protocol"]["masks"], result["protocol"]["max_detections"]) == ("hierarchy", 7)
    assert others[:, :, 2].sum() == areas[:, :, 2].sum()
    assert result["mask_ap"] != plain["mask_ap"]
    assert evaluate(use, folders, asked, seed=0).result == result
    mil, mil_asked = (evaluate(model, folders, p, seed=0).result for p in (params, asked))
    assert mil == mil_asked
    assert mil.keys() == {"scores", "per_class", "seeds", "protocol"}
    assert not [key for key in mil["scores"] if key.startswith("mask")]


def test_masks_that_name_everything_right_are_all_right(folders, use, monkeypatch):
    """Halves of the picture, each an object or stuff: the hierarchy finds them, an oracle names
    them.
    """
    from captionseg.inference.detections import Detections

    params = EvaluateParams(bootstrap=2, device="cpu", masks=MasksParams("hierarchy"))
    truths = iter(benchmark_truths(folders))

    def oracle(model, inputs, classes, wanted):
        truth = next(truths)
        masks = torch.nn.functional.interpolate(
            inputs.masks.float(), inputs.size, mode="nearest-exact"
        )[0].bool()
        left = torch.from_numpy(truth == truth[0, 0])
        overlap = (masks & left).flatten(1).sum(1) / (masks | left).flatten(1).sum(1)
        best = int(overlap.argmax())
        return Detections(masks[[best]].numpy(), truth[:1, 0].astype(int), np.ones(1, np.float32))

    monkeypatch.setattr("captionseg.inference.labelling.detect_masks", oracle)
    result = evaluate(use, folders, params, seed=0).result
    assert result["scores"]["mask_map_75"] == 100.0
    assert result["scores"]["mask_coverage"] == 100.0


def benchmark_truths(folders: Folders) -> list[np.ndarray]:
    return [sample.truth for sample in HeldOut.load(folders, "test").samples()]


def test_a_model_on_segments_under_the_protocol_of_its_paper(folders, use):
    result, _, *_ = evaluate(
        use, folders, EvaluateParams(bootstrap=5, device="cpu", protocol="use"), seed=0
    )
    assert (result["protocol"]["masks"], result["protocol"]["skipped"]) == ("hierarchy", [])
