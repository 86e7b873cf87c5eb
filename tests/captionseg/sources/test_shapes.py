"""Drawn scenes: exact masks, salient-only captions whose concepts the noun finder sees."""

import io
import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from captionseg.sources.shapes import (
    COLOURS,
    GROUNDS,
    NAMES,
    OUTLINES,
    SMALLEST,
    STANDING,
    Shapes,
    draw_background,
    draw_polygon,
    draw_silhouette,
    draw_texture,
)
from captionseg.text.corpus_vocabulary import build
from captionseg.text.vocabulary import VocabularyParams, tokens

SOURCE = Shapes()


@pytest.fixture(scope="module")
def samples():
    return SOURCE.samples("train", range(SOURCE.train), seed=0)


def named(caption: str) -> list[str]:
    """Class names in a caption, in its order."""
    return [word for word in tokens(caption) if word in NAMES]


def test_the_default_run_is_quick() -> None:
    begin = time.process_time()
    for split, count in SOURCE.splits().items():
        SOURCE.samples(split, range(count), seed=0)
    assert time.process_time() - begin < 2


def test_every_class_is_shown_and_named(samples) -> None:
    assert tuple(sorted(OUTLINES)) + tuple(sorted(GROUNDS)) == NAMES
    for name in NAMES:
        assert sum(name in s.concepts for s in samples) >= 15
        assert sum(name in named(s.caption) for s in samples) >= 3


def test_colours_are_the_objects_own_colours(samples) -> None:
    """The mask says which pixels a named shape has, the caption its colour, the picture shows it
    there.
    """
    for sample in samples[:60]:
        image = np.asarray(Image.open(io.BytesIO(sample.jpeg)), float)
        words = tokens(sample.caption)
        for colour, name in itertools.pairwise(words):
            if colour in COLOURS:
                seen = np.median(image[sample.mask == NAMES.index(name)], axis=0)
                distance = {c: np.abs(seen - rgb).sum() for c, rgb in COLOURS.items()}
                assert min(distance, key=distance.get) == colour, sample.caption


def test_concepts_are_what_the_mask_shows(samples) -> None:
    for sample in samples:
        share = np.bincount(sample.mask.ravel(), minlength=len(NAMES)) / sample.mask.size
        assert sample.concepts == tuple(
            n for n, s in zip(NAMES, share, strict=True) if s >= SMALLEST
        )


def test_captions_name_the_largest_shape_first_and_only_what_is_there(samples) -> None:
    for sample in samples:
        area = {n: (sample.mask == NAMES.index(n)).sum() for n in OUTLINES}
        first, *others = named(sample.caption)
        assert first == max(area, key=area.get)
        assert set(others) <= set(sample.concepts)
        if len(others) and others[0] in OUTLINES:
            assert area[others[0]] == sorted(area.values())[-2]


def test_captions_leave_most_of_the_picture_out(samples) -> None:
    """The semantic gap: about a quarter of the captions name a ground, each picture has two."""
    grounds = [sum(n in GROUNDS for n in named(s.caption)) for s in samples]
    assert max(grounds) == 1
    assert 0.12 < np.mean(grounds) < 0.4
    recall = sum(len(set(named(s.caption))) for s in samples) / sum(
        len(s.concepts) for s in samples
    )
    assert 0.25 < recall < 0.6


@pytest.mark.parametrize(("second", "stuff"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_probabilities_of_naming(second: float, stuff: float) -> None:
    for sample in replace(SOURCE, second_named=second, stuff_named=stuff).samples(
        "tune", range(24), seed=3
    ):
        words = named(sample.caption)
        shapes = sum(n in OUTLINES for n in sample.concepts)
        assert sum(n in OUTLINES for n in words) == (min(2, shapes) if second else 1)
        assert sum(n in GROUNDS for n in words) == stuff


def test_the_vocabulary_is_exactly_the_classes(samples) -> None:
    """spaCy finds every class as a noun, and no colour."""
    vocabulary = build([s.caption for s in samples], VocabularyParams(minimum=3))
    assert set(vocabulary.concepts) == set(NAMES)
    found = vocabulary.match_captions([s.caption for s in samples]).toarray()
    for row, sample in zip(found, samples, strict=True):
        assert {vocabulary.concepts[i] for i in np.flatnonzero(row)} == set(named(sample.caption))


def test_splits_and_seeds_differ() -> None:
    picture = {
        (split, seed): SOURCE.samples(split, [0], seed=seed)[0].jpeg
        for split in ("train", "tune", "test")
        for seed in (0, 1)
    }
    assert len(set(picture.values())) == 6


def test_outlines_are_scaled_by_their_radius() -> None:
    for outlines in OUTLINES.values():
        assert np.abs(outlines[0]).max() == pytest.approx(1.0)
    assert draw_polygon(4)[0] == pytest.approx(-1j)  # upward: y grows downward in pictures


def test_silhouettes_stay_inside_and_a_ring_has_a_hole() -> None:
    rng = np.random.default_rng(0)
    for name in OUTLINES:
        for _ in range(20):
            inside = draw_silhouette(name, 64, rng)
            assert inside.any()
            y, x = np.nonzero(inside)
            assert max(np.ptp(y), np.ptp(x)) <= 2 * 0.3 * 64 + 2
            if name == "ring":
                assert not inside[round(y.mean()), round(x.mean())]
            if name in ("circle", "square"):
                assert inside[round(y.mean()), round(x.mean())]


def test_two_different_grounds_one_above_the_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        canvas, mask = draw_background(48, rng)
        assert canvas.shape == (48, 48, 3)
        assert mask[0].max() == mask[0].min() != mask[-1].max() == mask[-1].min()
        assert set(np.unique(mask)) <= {NAMES.index(n) for n in GROUNDS}
        assert (np.diff(mask.astype(int), axis=0) != 0).sum(0).max() == 1


def test_textures_have_the_colour_of_their_ground() -> None:
    rng = np.random.default_rng(0)
    for name, colour in GROUNDS.items():
        mean = draw_texture(name, 96, rng).mean((0, 1))
        assert np.abs(mean / mean.max() - np.array(colour) / max(colour)).max() < 0.1
        assert set(tokens(STANDING[name])) & set(NAMES) == {name}


@pytest.mark.parametrize(
    "wrong", [{"train": -1}, {"size": 31}, {"stuff_named": 1.5}, {"second_named": -0.1}]
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Shapes(**wrong)
