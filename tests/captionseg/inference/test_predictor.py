"""Picture in, labels out; and pictures that are none."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from captionseg.datasets.shard_images import read_images
from captionseg.inference.image_files import read_image
from captionseg.inference.predictor import Predictor
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Background, Protocol
from captionseg.modeling.use import Use
from captionseg.modeling.use_config import UseConfig
from captionseg.modeling.weights import saved
from captionseg.records import UserError
from captionseg.remarks import forget
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.hierarchy import Hierarchy
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.training.pretrain import copy_encoder
from tests.captionseg.inference.conftest import CONTEXT


@pytest.fixture
def predictor(folder) -> Predictor:
    return Predictor.load(folder, device="cpu")


def test_labels_of_the_size_of_the_picture(predictor):
    image = np.random.default_rng(0).integers(0, 255, (40, 25, 3), dtype=np.uint8)
    labels = predictor.segment(image, ["dog", "grass", "water"])
    logits = predictor.logits(image, ["dog", "grass", "water"])
    assert (labels.shape, labels.dtype) == ((40, 25), np.int16)
    assert (logits.shape, logits.dtype) == ((3, 40, 25), np.float32)
    np.testing.assert_array_equal(labels, logits.argmax(0))
    assert (predictor.segment(image, ["dog"]) == 0).all()


def test_pixels_that_a_rival_fits_better_have_no_label(predictor):
    image = np.random.default_rng(0).integers(0, 255, (40, 25, 3), dtype=np.uint8)
    every = predictor.segment(image, ["dog", "grass", "water", "cat"])
    found = predictor.segment(image, ["dog", "grass"], ["water", "cat"])
    np.testing.assert_array_equal(found, np.where(every < 2, every, -1))
    with pytest.raises(UserError, match="give at least one"):
        predictor.segment(image, [], ["water"])


def test_rivals_are_concepts_of_the_training_unlike_the_labels(predictor, folder):
    assert predictor.find_rivals(["dog"]) == []  # nothing is known of its training
    (folder / "concepts.txt").write_text("dog\ncat\ngrass\nwater\n", encoding="utf-8")
    assert set(predictor.find_rivals(["dogs"])) <= {"cat", "grass", "water"}
    (folder / "concepts.txt").unlink()


def test_one_label_without_a_background_is_said_to_get_every_pixel(predictor, caplog):
    forget()
    image = np.zeros((20, 30, 3), np.uint8)
    predictor.segment(image, ["dog", "cat"])
    assert caplog.messages == []
    for _ in range(2):
        predictor.segment(image, ["dog"])
    assert caplog.messages == [
        "labels: with only 'dog' and no background, every pixel gets this label; add labels for "
        "the rest of the picture"
    ]
    protocol = replace(predictor.protocol, background=Background("threshold", 0.5))
    replace(predictor, labeller=replace(predictor.labeller, protocol=protocol)).segment(
        image, ["cat"]
    )
    assert len(caplog.messages) == 1


def test_a_picture_is_prepared_as_the_stages_prepare_it(predictor, world):
    pooled, labels = world.pooled, world.labels
    for row, (_, image) in enumerate(read_images(world.pairs, "00000")):
        inputs = predictor.prepare(image)
        np.testing.assert_array_equal(inputs.labels[0], labels[row])
        np.testing.assert_allclose(inputs.regions[0], pooled[row][:4], atol=2e-3)
        assert inputs.size == (32, 32)


@pytest.mark.parametrize(
    ("method", "pixels"), [("none", False), ("segments", False), ("pamr", True)]
)
def test_pixels_are_there_for_those_who_look_at_them(folder, method, pixels):
    found = Predictor.load(
        folder, device="cpu", protocol=Protocol(refine=RefineParams(method, side=8))
    )
    image = np.zeros((20, 30, 3), np.uint8)
    assert (found.prepare(image).image is not None) == pixels
    assert found.segment(image, ["dog", "cat"]).shape == (20, 30)


@pytest.fixture
def use(toy, world, tmp_path):
    """A folder with a model that reads segments."""
    torch.manual_seed(0)
    saved.save(tmp_path / "use", "use", Use(UseConfig(towers=((3,),), text_width=16)), CONTEXT)
    copy_encoder(world.encoder, tmp_path / "use" / "encoder")
    return tmp_path / "use"


HIERARCHY = MasksParams("hierarchy", hierarchy=Hierarchy(maker=Felzenszwalb(side=16)))
SQUARE = np.full((40, 30, 3), 30, np.uint8)
SQUARE[10:30, 5:20] = (220, 60, 30)


def test_masks_are_there_for_models_that_read_segments(use):
    plain = Predictor.load(use, device="cpu")
    assert plain.prepare(SQUARE).masks is None
    found = Predictor.load(use, device="cpu", protocol=Protocol(masks=HIERARCHY))
    inputs = found.prepare(SQUARE)
    np.testing.assert_array_equal(inputs.masks[0], HIERARCHY.build().masks(SQUARE)[0])
    assert inputs.region_mask.shape[1] == 0
    labels = found.segment(SQUARE, ["dog", "cat", "grass"])
    assert labels.shape == (40, 30)
    np.testing.assert_array_equal(labels, found.logits(SQUARE, ["dog", "cat", "grass"]).argmax(0))


def test_masks_saved_with_a_model(use):
    config = json.loads((use / "config.json").read_text())
    config["context"]["masks"] = dataclasses.asdict(HIERARCHY)
    (use / "config.json").write_text(json.dumps(config))
    assert Predictor.load(use, device="cpu").protocol.masks == HIERARCHY
    assert Predictor.load(use, device="cpu").prepare(SQUARE).masks is not None
    again = Predictor.load(use, device="cpu", protocol=Protocol(masks=MasksParams()))
    assert again.prepare(SQUARE).masks is None


def test_what_looks_like_background_is_not_detected(use):
    found = Predictor.load(use, device="cpu", protocol=Protocol(masks=HIERARCHY))
    every = found.detect(SQUARE, ["dog", "cat", "grass"])
    assert len(every.masks) == found.prepare(SQUARE).masks.shape[1]
    assert every.masks.shape[1:] == (40, 30)
    split = (
        found.detect(SQUARE, ["dog", "cat"], ["grass"]),
        found.detect(SQUARE, ["grass"], ["cat", "dog"]),
    )
    assert sum(len(part.masks) for part in split) == len(every.masks)
    kept = every.classes < 2
    np.testing.assert_array_equal(split[0].masks, every.masks[kept])
    np.testing.assert_allclose(split[0].scores, every.scores[kept], rtol=1e-5)
    assert (split[1].classes == 0).all()
    with pytest.raises(UserError, match="give at least one"):
        found.detect(SQUARE, [], ["grass"])


def test_masks_of_a_model_that_reads_none_are_one_line(folder, predictor):
    with pytest.raises(UserError, match="a segment_mil does not read segments; remove masks"):
        Predictor.load(folder, device="cpu", protocol=Protocol(masks=HIERARCHY))
    with pytest.raises(UserError, match="this model does not read segments"):
        predictor.detect(SQUARE, ["dog"])


def test_a_single_pixel_is_a_picture(predictor):
    assert predictor.segment(np.zeros((1, 1, 3), np.uint8), ["dog", "cat"]).shape == (1, 1)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_one_line(predictor, image):
    with pytest.raises(UserError, match=r"image: expected uint8 \[H, W, 3\], found"):
        predictor.segment(image, ["dog"])


def test_a_model_that_knows_no_background_is_one_line(folder):
    with pytest.raises(UserError, match="model segment_mil has no background threshold"):
        Predictor.load(folder, background=0.5)


def test_no_label_is_one_line(predictor):
    with pytest.raises(UserError, match="labels: give at least one"):
        predictor.segment(np.zeros((4, 4, 3), np.uint8), [])


@pytest.mark.parametrize(
    "context", [{}, CONTEXT | {"regions": {}}, CONTEXT | {"prompts": "nobody"}]
)
def test_a_model_whose_context_does_not_fit_is_one_line(folder, context):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"context": context}))
    with pytest.raises(UserError, match="not a model of this version") as caught:
        Predictor.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("encoder.json", b"{"),
        ("encoder.json", b'{"encoder": "nobody", "params": {}, "precision": "fp32"}'),
        ("encoder.json", b'{"encoder": "toy", "params": {"no": 1}, "precision": "fp32"}'),
        ("reduction.safetensors", b"torn"),
    ],
)
def test_a_model_whose_encoder_is_damaged_is_one_line(folder, file, content):
    (folder / "encoder" / file).write_bytes(content)
    wanted = r"not an encoder of this version|reduction\.safetensors: cannot be read"
    with pytest.raises(UserError, match=wanted) as caught:
        Predictor.load(folder)
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------
# read_image


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "YCbCr"])
def test_pictures_of_every_mode(tmp_path, mode):
    kind = "TIFF" if mode in {"CMYK", "YCbCr"} else "PNG"
    base = Image.new("L", (5, 3), 255) if mode == "I;16" else Image.new("RGB", (5, 3), (255, 0, 0))
    (tmp_path / "x").write_bytes(encoded(base.convert(mode), kind))
    image = read_image(tmp_path / "x")
    assert (image.shape, image.dtype) == ((3, 5, 3), np.uint8)
    if mode in {"RGB", "P", "RGBA", "CMYK"}:
        assert image[0, 0].tolist() == [255, 0, 0]


def test_pictures_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (5, 3)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (5, 3, 3)


def refused(path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_foreign_files(tmp_path):
    refused(tmp_path / "nowhere.jpg", "no such file")
    refused(tmp_path, "not a readable image")
    (tmp_path / "empty.jpg").touch()
    refused(tmp_path / "empty.jpg", "not a readable image")
    (tmp_path / "text.jpg").write_text("a dog")
    refused(tmp_path / "text.jpg", "not a readable image")


def test_a_picture_that_would_fill_the_memory_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    # Pillow warns of the first and refuses the second
    for size, pixels in (((11, 10), 110), ((30, 30), 900)):
        Image.new("RGB", size).save(tmp_path / "x.png")
        assert size[0] * size[1] == pixels
        refused(tmp_path / "x.png", "more than 100 pixels; shrink it first")
    Image.new("RGB", (10, 10)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").shape == (10, 10, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_damaged_picture_is_read_or_refused_but_never_crashes(tmp_path, kind):
    rng = np.random.default_rng(0)
    whole = encoded(Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)), kind)
    path = tmp_path / "x"
    for trial in range(60):
        data = bytearray(whole)
        if trial % 2:
            data = data[: rng.integers(1, len(data))]
        for at in rng.integers(0, len(data), 1 + trial % 5):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            assert read_image(path).shape[2] == 3


def test_a_seed_of_a_recipe_has_the_recipes_encoder(folder, tmp_path_factory):
    """At 057bf04 `--model models/X/seeds/0` was told to run `dvc repro index`."""
    recipe = tmp_path_factory.mktemp("models") / "recipe"
    seed = recipe / "seeds" / "0"
    seed.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(folder / name, seed / name)
    shutil.copytree(folder / "encoder", recipe / "encoder")
    image = np.random.default_rng(0).integers(0, 255, (20, 25, 3), dtype=np.uint8)
    found = [
        Predictor.load(path, device="cpu").segment(image, ["dog", "grass"])
        for path in (seed, folder)
    ]
    np.testing.assert_array_equal(*found)
    shutil.rmtree(recipe / "encoder")
    with pytest.raises(
        UserError, match=r"no encoder saved there; name the recipe's folder, models/RECIPE"
    ):
        Predictor.load(seed, device="cpu").segment(image, ["dog"])
