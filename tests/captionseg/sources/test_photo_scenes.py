"""Scenes of painted assets, one colour a class, so that the picture itself says whether the mask is
right.
"""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from captionseg.records import UserError
from captionseg.sources import photo_scenes
from captionseg.sources.composed import scene_assets
from captionseg.sources.composed.scene_assets import Asset, Assets
from captionseg.sources.photo_scenes import (
    ABOVE,
    BELOW,
    IGNORE,
    LONGEST,
    OPENINGS,
    SMALLEST,
    PhotoScenes,
    cut_texture,
    draw_background,
    paste,
)

SOURCE = PhotoScenes(train=40, tune=20, test=20, size=96)
ALL = frozenset({"train", "tune", "test"})

pytestmark = pytest.mark.usefixtures("toy_scenes")


@pytest.fixture
def samples():
    return SOURCE.samples("train", range(40), seed=0)


def colour_of(assets: Assets, name: str) -> np.ndarray:
    """Of a class, relative to its brightest channel."""
    pixels = np.asarray(next(a for a in assets.items if a.name == name).pixels)[..., :3]
    colour = np.median(pixels.reshape(-1, 3), axis=0)
    return colour / colour.max()


def objects_in(caption: str) -> list[str]:
    return [word for word in caption.split() if word in ("ball", "box", "cone")]


def grounds_in(caption: str) -> list[str]:
    return [word for word in caption.split() if word in (*ABOVE, *BELOW)]


# ------------------------------------------------------------------------------------------------
# truth


def test_the_mask_says_what_is_seen(samples, toy_assets: Assets) -> None:
    """The class whose colour a pixel has is the class of the mask, but for edges that JPEG
    blurs."""
    colours = np.stack([colour_of(toy_assets, name) for name in toy_assets.names])
    for sample in samples:
        image = np.asarray(Image.open(io.BytesIO(sample.jpeg)), float)
        assert image.shape == (96, 96, 3)
        relative = image / np.maximum(1, image.max(-1, keepdims=True))
        nearest = np.abs(relative[:, :, None] - colours).sum(-1).argmin(-1)
        known = sample.mask != IGNORE
        assert (nearest == sample.mask)[known].mean() > 0.93


def test_concepts_are_all_that_is_visible(samples, toy_assets: Assets) -> None:
    for sample in samples:
        share = (
            np.bincount(sample.mask.ravel(), minlength=256)[: len(toy_assets.names)]
            / sample.mask.size
        )
        assert sample.concepts == tuple(
            n for n, s in zip(toy_assets.names, share, strict=True) if s >= SMALLEST
        )


def test_classes_and_licences(toy_assets: Assets) -> None:
    classes = SOURCE.classes()
    assert classes.names[:4] == ("ball", "box", "cone", "brick")
    assert classes.kinds == ("object",) * 3 + ("stuff",) * (len(classes.names) - 3)
    assert SOURCE.licences() == scene_assets.read_table_text()


def test_held_out_instances_stay_held_out(toy_assets: Assets) -> None:
    """Their phrases tell the instances apart."""
    for split in ("train", "tune", "test"):
        captions = " ".join(s.caption for s in SOURCE.samples(split, range(20), seed=1))
        assert ("big" in captions) == (split == "train")
        assert ("new" in captions) == (split != "train")


def test_number_of_objects_follows_its_probabilities(toy_assets: Assets) -> None:
    one = replace(SOURCE, objects=(1.0,)).samples("train", range(20), seed=0)
    assert {sum(c in ("ball", "box", "cone") for c in s.concepts) for s in one} == {1}
    many = replace(SOURCE, objects=(0.0, 0.0, 0.0, 0.0, 2.0)).samples("train", range(20), seed=0)
    counts = [sum(c in ("ball", "box", "cone") for c in s.concepts) for s in many]
    assert max(counts) == 3, "no more than there are classes; an object is shown once"


# ------------------------------------------------------------------------------------------------
# captions


@pytest.mark.parametrize(("second", "stuff"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_captions_name_what_is_salient(second: float, stuff: float, toy_assets: Assets) -> None:
    source = replace(SOURCE, second_named=second, stuff_named=stuff)
    for sample in source.samples("train", range(40), seed=2):
        area = {
            n: (sample.mask == toy_assets.names.index(n)).mean() for n in ("ball", "box", "cone")
        }
        shown = sorted((n for n in area if area[n] >= SMALLEST), key=lambda n: -area[n])
        assert objects_in(sample.caption) == shown[: 2 if second else 1]
        assert len(grounds_in(sample.caption)) == stuff
        assert set(grounds_in(sample.caption)) <= set(sample.concepts)


def test_naming_is_as_frequent_as_asked_for(toy_assets: Assets) -> None:
    """0.12 of 400: the mean of a binomial within four standard deviations, 0.016 each."""
    rng, visible = np.random.default_rng(0), np.full(len(toy_assets.names), 0.1)
    ball = toy_assets.of("ball", "train")
    captions = [SOURCE.caption(toy_assets, ball, visible, rng) for _ in range(400)]
    assert 0.055 < np.mean([bool(grounds_in(c)) for c in captions]) < 0.185
    assert {c.split("a big ball")[0] for c in captions} == {o.split("{}")[0] for o in OPENINGS}


def test_a_caption_of_nothing_but_ground(toy_assets: Assets) -> None:
    visible = np.zeros(len(toy_assets.names))
    visible[toy_assets.names.index("snow")] = 1.0
    caption = replace(SOURCE, stuff_named=0.0).caption(
        toy_assets, [], visible, np.random.default_rng(0)
    )
    assert "a place on snow" in caption


def test_what_is_hidden_is_not_told(toy_assets: Assets) -> None:
    """Object after object is pasted at the same large size: some are covered, and then neither
    named nor listed.
    """
    cover = [
        replace(a, pixels=a.pixels.crop((15, 15, 25, 25))) if a.kind == "object" else a
        for a in toy_assets.items
    ]
    source = PhotoScenes(size=64, objects=(0.0, 0.0, 1.0), second_named=1.0)
    hidden = 0
    for number in range(60):
        sample = source.compose(Assets(tuple(cover)), "train", number, seed=0)
        shown = {c for c in sample.concepts if c in ("ball", "box", "cone")}
        hidden += len(shown) < 3
        assert set(objects_in(sample.caption)) <= shown
        kept = {toy_assets.names[i] for i in np.unique(sample.mask) if i != IGNORE}
        assert kept & {"ball", "box", "cone"} == shown, (
            "what nobody can name is no error of those who do not"
        )
    assert hidden > 0


# ------------------------------------------------------------------------------------------------
# parts


def test_background_has_an_upper_and_a_lower_ground(toy_assets: Assets) -> None:
    for number in range(30):
        canvas, mask = draw_background(
            toy_assets, "train", 64, np.random.default_rng(number), third=float(number % 2)
        )
        assert canvas.shape == (64, 64, 3)
        assert canvas.dtype == np.float32
        assert toy_assets.names[mask[0, 0]] in ABOVE
        assert toy_assets.names[mask[-1, 0]] in BELOW
        assert len(np.unique(mask)) <= 2 + number % 2
        assert ((np.diff(mask.astype(int), axis=0) != 0).sum(0) <= 1 + number % 2).all(), (
            "bands, not islands"
        )


def test_a_small_texture_fills_the_picture(toy_assets: Assets) -> None:
    instances = [
        Asset("x", "stuff", "x", ALL, Image.new("RGB", size, (100, 100, 100)))
        for size in ((1, 1), (3, 700))
    ]
    for number in range(10):
        cut = cut_texture(instances, 128, np.random.default_rng(number))
        assert cut.shape == (128, 128, 3)
        assert cut.min() > 100 * 0.75 * 0.94 - 1


def test_paste_changes_picture_and_mask_at_the_same_place() -> None:
    """An opaque disc: where the mask has it the picture has its colour, elsewhere nothing
    happens."""
    for number in range(20):
        canvas, mask = np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.uint8)
        disc = Asset("x", "object", "x", ALL, Image.new("RGBA", (30, 12), (200, 200, 200, 255)))
        paste(canvas, mask, disc, 7, np.random.default_rng(number))
        assert set(np.unique(mask)) == {0, 7}
        assert canvas[mask == 7].min() > 0.5 * 200 * 0.8 * 0.95 - 1
        assert canvas[mask == 0].max() < 0.5 * 255 + 1
        y, x = np.nonzero(mask)
        diagonal = np.hypot(np.ptp(x), np.ptp(y)) / 64
        assert 0.95 * LONGEST[0] - 0.04 <= diagonal <= 1.1 * LONGEST[1] + 0.04, (
            "within the sizes asked for"
        )


def test_what_is_transparent_leaves_no_trace() -> None:
    canvas, mask = np.full((64, 64, 3), 50, np.float32), np.zeros((64, 64), np.uint8)
    ghost = Asset("x", "object", "x", ALL, Image.new("RGBA", (30, 30), (255, 0, 0, 0)))
    paste(canvas, mask, ghost, 7, np.random.default_rng(0))
    assert mask.max() == 0
    assert (canvas == 50).all()


# ------------------------------------------------------------------------------------------------
# seeds, errors


def test_seed_split_and_number_decide(toy_assets: Assets) -> None:
    jpegs = {
        SOURCE.samples(split, [number], seed=seed)[0].jpeg
        for split in ("train", "tune", "test")
        for number in (0, 1)
        for seed in (0, 1)
    }
    assert len(jpegs) == 12
    assert SOURCE.samples("tune", [5], seed=3)[0].url == "photo_scenes:3/tune/5"


def test_more_scenes_keep_the_first_ones() -> None:
    few, many = replace(SOURCE, train=2), replace(SOURCE, train=2000)
    assert few.samples("train", [1], seed=0)[0].jpeg == many.samples("train", [1], seed=0)[0].jpeg


def test_prepare_says_at_once_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Assets:
        raise UserError("download: there is no apt-get")

    monkeypatch.setattr(scene_assets, "fetch", fail)
    with pytest.raises(UserError, match="no apt-get"):
        PhotoScenes().prepare()


def test_assets_are_read_once_a_process() -> None:
    assert photo_scenes._assets() is photo_scenes._assets()


@pytest.mark.parametrize(
    "wrong",
    [
        {"test": -1},
        {"size": 31},
        {"third_stuff": 1.1},
        {"objects": ()},
        {"objects": (0.0,)},
        {"objects": (1.0, -0.5)},
    ],
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PhotoScenes(**wrong)
