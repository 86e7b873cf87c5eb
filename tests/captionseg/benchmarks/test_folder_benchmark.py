"""Pictures of a folder: which are taken, what is read of them, and inputs as models ask for
them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from captionseg.benchmarks.folder_benchmark import FolderBenchmark
from captionseg.benchmarks.published.catalogue import PUBLISHED
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.image_files import read_image
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import normalise_image
from captionseg.records import UserError
from tests.captionseg.benchmarks.trees import mask, picture, write_tree

OWN = PUBLISHED["folder"]
RAW = np.tile(np.arange(3), (6, 4))


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path, "folder", [RAW] * 5)


@pytest.mark.parametrize(
    ("limit", "kept"), [(0, range(5)), (1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (9, range(5))]
)
def test_a_limit_takes_pictures_from_the_whole_list(root, limit, kept):
    benchmark = FolderBenchmark.open(OWN, root, limit=limit)
    assert [item.uid for item in benchmark.items] == [f"p_{number}" for number in kept]
    assert (len(benchmark), benchmark.total) == (len(list(kept)), 5)
    assert [sample.uid for sample in benchmark.samples()] == [item.uid for item in benchmark.items]


def test_the_background_is_a_class_where_the_first_is_named_so(root):
    assert not FolderBenchmark.open(OWN, root).background
    (root / "classes.txt").write_text("background\ndog\ncat\n")
    assert FolderBenchmark.open(OWN, root).background


def test_inputs_are_what_the_model_asks_for(root, toy, world):
    benchmark = replace(
        FolderBenchmark.open(OWN, root, limit=1),
        maker=toy.maker,
        encoder=lambda: load_encoder(world.encoder),
    )
    image = read_image(benchmark.items[0].image)
    (regions,) = benchmark.of(InputSpec()).samples()
    assert regions.inputs.regions.shape[:2] == (1, 4)
    assert regions.inputs.image is None
    (pixels,) = benchmark.of(InputSpec(picture=8, tokens="clip")).samples()
    torch.testing.assert_close(pixels.inputs.image, normalise_image(image)[None])
    assert not pixels.inputs.regions.shape[1]
    (refined,) = benchmark.of(InputSpec(), "pamr").samples()
    assert refined.inputs.image is not None
    torch.testing.assert_close(refined.inputs.regions, regions.inputs.regions)
    (snapped,) = benchmark.of(InputSpec(picture=8, tokens="clip"), "segments").samples()
    assert snapped.inputs.labels.shape == regions.inputs.labels.shape


def test_a_mask_of_another_size_is_one_line(root):
    picture(root / "images/p_0.webp", (5, 7))
    with pytest.raises(UserError, match=r"p_0.png: 12 x 6 pixels, but its picture is 7 x 5"):
        list(FolderBenchmark.open(OWN, root).samples())


def test_a_value_without_a_class_is_one_line(root):
    mask(root / "masks/p_1.png", np.where(RAW == 2, 3, RAW))
    with pytest.raises(UserError, match=r"p_1.png: value 3 is not one of .* 3 classes"):
        list(FolderBenchmark.open(OWN, root).samples())
