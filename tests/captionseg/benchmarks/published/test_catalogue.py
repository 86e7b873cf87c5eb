"""Every published benchmark, read from a small tree in its official layout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg.benchmarks.classification import ClassificationSet
from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.layout import Layout
from captionseg.benchmarks.parts import Parts
from captionseg.benchmarks.published.catalogue import (
    PUBLISHED,
    background_of,
    find_benchmark,
    open_benchmark,
    threshold_of,
    windows_of,
)
from captionseg.benchmarks.score_saved_models import MEASURES
from captionseg.inference.detections import Detections
from captionseg.inference.labelling import Labeller
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.protocols import ScoringOptions
from captionseg.inference.windows import WindowParams
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.reporting.comparison import columns
from tests.captionseg.benchmarks.trees import (
    FILES,
    write_imagenet,
    write_own,
    write_parts,
    write_tree,
)

LAYOUTS = {name: spec for name, spec in PUBLISHED.items() if isinstance(spec, Layout)}

# benchmark: how many classes, then raw value -> name of its class, "" for not counted; by hand from
# the publications
MEANS = {
    "voc": (
        21,
        {0: "background", 1: "aeroplane", 11: "table", 16: "plant", 20: "monitor", 255: ""},
    ),
    "voc20": (20, {0: "", 1: "aeroplane", 11: "table", 16: "plant", 20: "monitor", 255: ""}),
    "context": (
        60,
        {
            1: "background",
            2: "airplane",
            284: "person",
            397: "table",
            427: "monitor",
            458: "wood",
            459: "background",
        },
    ),
    "context59": (
        59,
        {1: "", 2: "airplane", 284: "person", 397: "table", 427: "monitor", 458: "wood", 0: ""},
    ),
    "context459": (
        459,
        {0: "", 1: "thing 1", 255: "thing 255", 256: "thing 256", 459: "thing 459"},
    ),
    "coco_object": (
        81,
        {
            0: "person",
            10: "fire hydrant",
            12: "stop sign",
            89: "toothbrush",
            91: "background",
            181: "background",
            255: "background",
        },
    ),
    "coco_stuff": (
        171,
        {
            0: "person",
            10: "fire hydrant",
            12: "stop sign",
            89: "toothbrush",
            91: "banner",
            181: "wood",
            255: "",
        },
    ),
    "cityscapes": (
        19,
        {
            0: "",
            6: "",
            7: "road",
            8: "sidewalk",
            9: "",
            11: "building",
            23: "sky",
            29: "",
            33: "bicycle",
            255: "",
        },
    ),
    "ade20k": (150, {0: "", 1: "wall", 8: "bed", 150: "flag"}),
    "ade20k_full": (
        847,
        {
            0: "wall",
            130: "pot, flowerpot",
            188: "pot",
            300: "altar",
            846: "adding machine",
            65535: "",
        },
    ),
    "imagenet_s50": (51, {0: "background", 1: "goldfish", 50: "agaric", 1000: ""}),
    "imagenet_s300": (
        301,
        {0: "background", 1: "tench", 255: "television", 256: "throne", 300: "bolete", 1000: ""},
    ),
    "folder": (3, {0: "dog", 1: "cat", 2: "grass", 255: ""}),
}


def stripes(values: list[int]) -> np.ndarray:
    """[12, 4 n]: a stripe of four columns for each value."""
    return np.repeat(np.array(values), 4)[None].repeat(12, 0)


def with_masks(tmp_path, name: str, raws: list[np.ndarray]) -> FolderBenchmark:
    return FolderBenchmark.open(LAYOUTS[name], write_tree(tmp_path, name, raws), limit=len(raws))


def test_the_comparison_asks_for_benchmarks_that_exist():
    asked = {column.benchmark for column in columns.COLUMNS.values() if column.benchmark}
    assert asked | {columns.LARGEST_OBJECT} <= PUBLISHED.keys()


def test_all_are_tried():
    assert MEANS.keys() == LAYOUTS.keys() == FILES.keys() == PUBLISHED.keys() - EXACT.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_raw_values_mean_the_right_classes(tmp_path, name):
    classes, means = MEANS[name]
    benchmark = with_masks(tmp_path, name, [stripes(list(means))])
    assert len(benchmark.names) == len(set(benchmark.names)) == classes
    (sample,) = benchmark.samples()
    found = [
        benchmark.names[label] if label != benchmark.ignore else ""
        for label in sample.truth[5, ::4]
    ]
    assert found == list(means.values())
    np.testing.assert_array_equal(sample.truth, sample.truth[:1, ::4].repeat(12, 0).repeat(4, 1))
    assert sample.inputs.size == sample.truth.shape


def halves(name: str) -> tuple[np.ndarray, str]:
    """A mask of two classes, half each, with a border that counts nowhere where there is such a
    value; the left one.
    """
    kept = [value for value, meaning in MEANS[name][1].items() if meaning]
    ignored = [value for value, meaning in MEANS[name][1].items() if not meaning]
    raw = stripes([kept[0]] * 2 + [kept[1]] * 2)
    raw[0] = ignored[-1] if ignored else raw[0]
    return raw, MEANS[name][1][kept[0]]


def tree(root: Path, name: str, world) -> Path:
    """A benchmark's folder with two pictures, half of each one class."""
    if name == "imagenet":
        return write_imagenet(root, [0, 3])
    if name == "part_imagenet":
        return write_parts(root)
    return (
        write_own(root, world)
        if name in OWN_DATA
        else write_tree(root, name, [halves(name)[0]] * 2)
    )


OWN_DATA = ("held_out", "largest_object")
"""Benchmarks of the data of a checkout, which `tree` makes of `world`."""


class Oracle:
    """What answers every question right, or always the same."""

    config = SimpleNamespace(reads=InputSpec(picture=8, tokens="clip", segments=1))

    def __init__(self, benchmark, constant: int | None, patch) -> None:
        self.benchmark, self.constant = benchmark, constant
        if isinstance(benchmark, ClassificationSet):
            self.image_logits = self.logits
            self.truths = iter([item.label for item in benchmark.items])
        elif isinstance(benchmark, Parts):
            self.mask_scores = self.logits
            self.truths = iter([truth[1:] for truth in benchmark.truths()])
            patch.setattr("captionseg.inference.labelling.detect_masks", self.detected)
        else:
            self.truths = iter([sample.truth for sample in benchmark.samples()])

    def label(self, inputs, classes) -> torch.Tensor:
        truth = next(self.truths)
        # an oracle need not know what is ignored
        known = np.where(truth == self.benchmark.ignore, 0, truth)
        return torch.from_numpy(
            (known if self.constant is None else np.full_like(truth, self.constant))[None]
        ).long()

    def logits(self, inputs, classes) -> torch.Tensor:
        best = next(self.truths) if self.constant is None else self.constant
        return -(torch.arange(1000.0) - best).abs()[None]

    def detected(self, model, inputs, classes, wanted) -> Detections:
        masks, labels = next(self.truths)
        if self.constant is not None:
            masks, labels = np.ones_like(masks[:1]), np.array([self.constant])
        return Detections(masks, labels, np.ones(len(masks), np.float32))


def scored(benchmark, constant: int | None, patch) -> dict[str, float]:
    """By the measure of the benchmark, as a recipe is."""
    run, summed, _ = MEASURES[type(benchmark)]
    oracle = Oracle(benchmark, constant, patch)
    loaded = LoadedModel(oracle, Path(), lambda: None, "cpu")  # type: ignore[arg-type]
    model = Labeller(loaded, classes=torch.zeros(1, 1))
    asked = ScoringOptions(bootstrap=5)
    return summed([run(model, benchmark, asked)], benchmark, asked)[0]


EXACT = {
    # the right class is first in one of two pictures, and among the first five in both
    "imagenet": {"acc1": 50.0, "acc5": 100.0},
    # the whole picture overlaps its left half by .5, so it is right at the first of ten overlaps,
    # of one of two classes
    "part_imagenet": {"map": 5.0, "map_50": 50.0, "map_75": 0.0},
    # three of eight halves are dogs, and no other of six classes is found
    "held_out": {"miou": 3.125, "pixel_accuracy": 18.75},
    # three of eight pictures show a dog, and there are three objects
    "largest_object": {"acc1": 37.5, "acc5": 100.0},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_oracle_scores_100_and_a_constant_its_exact_value(tmp_path, name, world, monkeypatch):
    """Who calls all of two halves by one name has 50 % of that class, none of the other, and half
    of the pixels.
    """
    benchmark, total = open_benchmark(PUBLISHED[name], tree(tmp_path, name, world), limit=8)
    assert len(benchmark) == total == (8 if name in OWN_DATA else 2)
    perfect = scored(benchmark, None, monkeypatch)
    wanted = {
        "imagenet": ("acc1", "acc5"),
        "largest_object": ("acc1", "acc5"),
        "part_imagenet": ("map", "map_50", "map_75"),
    }.get(name, ("miou", "miou_low", "pixel_accuracy"))
    assert [perfect[key] for key in wanted] == [100.0] * len(wanted)
    constant = 0 if name in EXACT else benchmark.names.index(halves(name)[1])
    exact = EXACT.get(name, {"miou": 25.0, "miou_high": 25.0, "pixel_accuracy": 50.0})
    found = scored(benchmark, constant, monkeypatch)
    assert {key: found[key] for key in exact} == exact


@pytest.mark.parametrize(
    "name", sorted(LAYOUTS.keys() - {"cityscapes", "context", "context59", "coco_object"})
)
def test_a_value_that_is_no_class_is_a_mistake(tmp_path, name):
    strange = {
        "context459": 460,
        "imagenet_s50": 51,
        "imagenet_s300": 301,
        "coco_stuff": 90,
        "ade20k": 151,
        "ade20k_full": 847,
    }
    raw = stripes([strange.get(name, 21)])
    with pytest.raises(UserError, match=f"value {raw[0, 0]} is not one of .* classes"):
        list(with_masks(tmp_path, name, [raw]).samples())


@pytest.mark.parametrize("name", sorted(PUBLISHED.keys() - {"folder", *OWN_DATA}))
def test_half_of_the_pictures_is_not_the_benchmark(tmp_path, name, world):
    with pytest.raises(
        UserError,
        match=r"expected \d+ pictures.*, found 2; use --limit to score fewer; (fetch|make) .*",
    ):
        open_benchmark(PUBLISHED[name], tree(tmp_path, name, world))


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_empty_folder_is_one_line_that_says_what_to_fetch(tmp_path, name):
    with pytest.raises(
        UserError,
        match=r"no folder .*; |expected \d+ pictures.*, found 0.*; |no file .*; |does not exist; ",
    ) as caught:
        open_benchmark(PUBLISHED[name], tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert PUBLISHED[name].source


def test_published_windows_and_thresholds():
    """GroupViT's and CoCu's configurations."""
    sizes = {
        name: (w.short_side, w.crop, w.stride)
        for name, w in ((n, lay.windows) for n, lay in LAYOUTS.items())
    }
    assert {name for name, size in sizes.items() if size == (512, 224, 112)} == {
        "ade20k",
        "ade20k_full",
        "coco_stuff",
    }
    assert sizes.pop("cityscapes") == (1024, 448, 224)
    assert set(sizes.values()) == {(448, 448, 224), (512, 224, 112)}
    assert {name: threshold_of(spec) for name, spec in PUBLISHED.items() if threshold_of(spec)} == {
        "voc": 0.95,
        "context": 0.35,
        "coco_object": 0.95,
        "imagenet_s50": 0.95,
        "imagenet_s300": 0.75,
    }


def test_what_a_user_may_say():
    voc = find_benchmark("voc")
    assert windows_of(voc, None) == WindowParams(448, 448, 224)
    assert windows_of(voc, "512, 224,112") == WindowParams(512, 224, 112)
    for wrong in ("448", "1,2,x", "0,1,1", "1,2,3,4", ""):
        with pytest.raises(UserError, match="is not SHORT,CROP,STRIDE"):
            windows_of(voc, wrong)
    assert [background_of(voc, text) for text in (None, "0.4", "published")] == [None, 0.4, 0.95]
    with pytest.raises(UserError, match="there is no published score for ADE20K"):
        background_of(find_benchmark("ade20k"), "published")
    with pytest.raises(UserError, match="neither a number nor"):
        background_of(voc, "a lot")
    with pytest.raises(UserError, match=r"'vox' is not valid .*voc, voc20.*, folder, mine"):
        find_benchmark("vox", "mine")
    assert find_benchmark("mine", "mine") is find_benchmark("held_out") is PUBLISHED["held_out"]


def test_windows_of_protocols():
    """GroupViT's evaluator has windows for each benchmark; others have one for all."""
    ade, images = find_benchmark("ade20k"), find_benchmark("imagenet")
    assert windows_of(ade, None, "groupvit") == WindowParams(512, 224, 112)
    assert (
        windows_of(ade, None, "tcl")
        == windows_of(ade, None, "use")
        == windows_of(images, None)
        == WindowParams()
    )
    assert windows_of(ade, "3,2,1", "tcl") == WindowParams(3, 2, 1)
