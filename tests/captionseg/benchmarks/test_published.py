"""Every published benchmark, read from a small tree in its official layout."""

from __future__ import annotations

import numpy as np
import pytest

from captionseg.benchmarks.evaluate import count, scores
from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.published import PUBLISHED, background_of, published, windows_of
from captionseg.inference.windows import WindowParams
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import FILES, write_tree

# benchmark: how many classes, then raw value -> name of its class, "" for not counted; by hand from the publications
MEANS = {
    "voc": (21, {0: "background", 1: "aeroplane", 11: "table", 16: "plant", 20: "monitor", 255: ""}),
    "voc20": (20, {0: "", 1: "aeroplane", 11: "table", 16: "plant", 20: "monitor", 255: ""}),
    "context": (60, {1: "background", 2: "airplane", 284: "person", 397: "table", 427: "monitor", 458: "wood",
                     459: "background"}),
    "context59": (59, {1: "", 2: "airplane", 284: "person", 397: "table", 427: "monitor", 458: "wood", 0: ""}),
    "context459": (459, {0: "", 1: "thing 1", 255: "thing 255", 256: "thing 256", 459: "thing 459"}),
    "coco_object": (81, {0: "person", 10: "fire hydrant", 12: "stop sign", 89: "toothbrush", 91: "background",
                         181: "background", 255: "background"}),
    "coco_stuff": (171, {0: "person", 10: "fire hydrant", 12: "stop sign", 89: "toothbrush", 91: "banner",
                         181: "wood", 255: ""}),
    "cityscapes": (19, {0: "", 6: "", 7: "road", 8: "sidewalk", 9: "", 11: "building", 23: "sky", 29: "", 33: "bicycle",
                        255: ""}),
    "ade20k": (150, {0: "", 1: "wall", 8: "bed", 150: "flag"}),
    "imagenet_s50": (51, {0: "background", 1: "goldfish", 50: "agaric", 1000: ""}),
    "imagenet_s300": (301, {0: "background", 1: "tench", 255: "television", 256: "throne", 300: "bolete", 1000: ""}),
    "folder": (3, {0: "dog", 1: "cat", 2: "grass", 255: ""}),
}  # fmt: skip


def stripes(values: list[int]) -> np.ndarray:
    """[12, 4 n]: a stripe of four columns for each value."""
    return np.repeat(np.array(values), 4)[None].repeat(12, 0)


def opened(tmp_path, name: str, raws: list[np.ndarray]) -> FolderBenchmark:
    return FolderBenchmark.open(PUBLISHED[name], write_tree(tmp_path, name, raws), limit=len(raws))


def test_all_are_tried():
    assert MEANS.keys() == PUBLISHED.keys() == FILES.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_raw_values_mean_the_right_classes(tmp_path, name):
    classes, means = MEANS[name]
    benchmark = opened(tmp_path, name, [stripes(list(means))])
    assert len(benchmark.names) == len(set(benchmark.names)) == classes
    (sample,) = benchmark.samples()
    found = [benchmark.names[label] if label != benchmark.ignore else "" for label in sample.truth[5, ::4]]
    assert found == list(means.values())
    np.testing.assert_array_equal(sample.truth, sample.truth[:1, ::4].repeat(12, 0).repeat(4, 1))
    assert sample.inputs.size == sample.truth.shape


def halves(name: str) -> tuple[np.ndarray, str]:
    """A mask of two classes, half each, with a border that counts nowhere where there is such a value; the left one."""
    kept = [value for value, meaning in MEANS[name][1].items() if meaning]
    ignored = [value for value, meaning in MEANS[name][1].items() if not meaning]
    raw = stripes([kept[0]] * 2 + [kept[1]] * 2)
    raw[0] = ignored[-1] if ignored else raw[0]
    return raw, MEANS[name][1][kept[0]]


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_oracle_scores_100_and_a_constant_its_exact_value(tmp_path, name):
    """Who calls all of two halves by one name has 50 % of that class, none of the other, and half of the pixels."""
    raw, left = halves(name)
    benchmark = opened(tmp_path, name, [raw, raw])
    truths = iter([sample.truth for sample in benchmark.samples()])
    # an oracle need not know what is ignored: there it says 0
    out = scores([count(benchmark, lambda _: (t := next(truths)) * (t != benchmark.ignore))], samples=5, seed=0)
    assert (out["miou"], out["miou_low"], out["pixel_accuracy"]) == (100.0, 100.0, 100.0)
    label = benchmark.names.index(left)
    out = scores([count(benchmark, lambda inputs: np.full(inputs.size, label))], samples=5, seed=0)
    assert (out["miou"], out["miou_high"], out["pixel_accuracy"]) == (25.0, 25.0, 50.0)


@pytest.mark.parametrize("name", sorted(PUBLISHED.keys() - {"cityscapes", "context", "context59", "coco_object"}))
def test_a_value_that_is_no_class_is_a_mistake(tmp_path, name):
    strange = {"context459": 460, "imagenet_s50": 51, "imagenet_s300": 301, "coco_stuff": 90, "ade20k": 151}
    raw = stripes([strange.get(name, 21)])
    with pytest.raises(UserError, match=f"holds the value {raw[0, 0]}, which is none of .* classes"):
        list(opened(tmp_path, name, [raw]).samples())


@pytest.mark.parametrize("name", sorted(PUBLISHED.keys() - {"folder"}))
def test_half_of_the_pictures_is_not_the_benchmark(tmp_path, name):
    with pytest.raises(UserError, match=r"2 pictures with masks where the split has \d+, .*; (fetch|make) .*, so that"):
        FolderBenchmark.open(PUBLISHED[name], write_tree(tmp_path, name, [halves(name)[0]] * 2))


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_empty_folder_is_one_line_that_says_what_to_fetch(tmp_path, name):
    with pytest.raises(UserError, match=r": no folder .*; .* so that .* holds ") as caught:
        FolderBenchmark.open(PUBLISHED[name], tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert PUBLISHED[name].source


def test_published_windows_and_thresholds():
    """GroupViT's and CoCu's configurations."""
    sizes = {name: (w.short_side, w.crop, w.stride) for name, w in ((n, lay.windows) for n, lay in PUBLISHED.items())}
    assert {name for name, size in sizes.items() if size == (512, 224, 112)} == {"ade20k", "coco_stuff"}
    assert sizes.pop("cityscapes") == (1024, 448, 224)
    assert set(sizes.values()) == {(448, 448, 224), (512, 224, 112)}
    assert {name: lay.threshold for name, lay in PUBLISHED.items() if lay.threshold} == {
        "voc": 0.95, "context": 0.35, "coco_object": 0.95, "imagenet_s50": 0.95, "imagenet_s300": 0.75}  # fmt: skip


def test_what_a_user_may_say():
    voc = published("voc")
    assert windows_of(voc, None) == WindowParams(448, 448, 224)
    assert windows_of(voc, "512, 224,112") == WindowParams(512, 224, 112)
    for wrong in ("448", "1,2,x", "0,1,1", "1,2,3,4", ""):
        with pytest.raises(UserError, match="is not SHORT,CROP,STRIDE"):
            windows_of(voc, wrong)
    assert [background_of(voc, text) for text in (None, "0.4", "published")] == [None, 0.4, 0.95]
    with pytest.raises(UserError, match="none was for ADE20K"):
        background_of(published("ade20k"), "published")
    with pytest.raises(UserError, match="neither a number nor"):
        background_of(voc, "a lot")
    with pytest.raises(UserError, match=r"'vox' is not valid .*voc, voc20"):
        published("vox")
