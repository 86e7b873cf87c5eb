"""Augments training pictures by timm's transforms, seeded by seed, epoch and row."""

from __future__ import annotations

import contextlib
import functools
import importlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captionseg.grids import MEAN, STD, Window
from captionseg.prepared import normalise_image
from captionseg.typed import AboveZero, Share, ShareAboveZero


@dataclass(frozen=True)
class AugmentParams:
    """Section `pretrain.augment`, for models that read pixels; the defaults are GroupViT's.

    Attributes:
        smallest: minimum area of a crop, as a share of the picture.
        randaugment: timm's configuration of RandAugment; empty for none (OVSegmentor's second
            stage).
        erase: probability that a rectangle is replaced by noise.
        scales: minimum and maximum scale of crops of models that read segments (USE), which ignore
            the fields above. At scale 1 the short side of the picture is that of the crop.
    """

    smallest: ShareAboveZero = 0.08
    randaugment: str = "rand-m9-mstd0.5-inc1"
    erase: Share = 0.25
    scales: tuple[AboveZero, ...] = (0.5, 2.0)

    def __post_init__(self) -> None:
        if not 0.0 < self.smallest <= 1.0 or not 0.0 <= self.erase <= 1.0:
            raise ValueError("augment: smallest must be above 0 and at most 1, erase at most 1")
        if len(self.scales) != 2 or not 0.0 < self.scales[0] <= self.scales[1]:
            raise ValueError(
                f"augment: scales {list(self.scales)} must be two, above 0, the smaller first"
            )


class Augmenter:
    """Crops, flips, augments and normalises pictures.

    Args:
        params: parameters of the augmentation.
        size: side of the crops in pixels.
    """

    def __init__(self, params: AugmentParams, size: int) -> None:
        from timm.data.transforms_factory import create_transform

        self.transform: Any = create_transform(
            size,
            is_training=True,
            scale=(params.smallest, 1.0),
            auto_augment=params.randaugment or None,
            color_jitter=0.0,
            interpolation="bilinear",
            re_prob=params.erase,
            re_mode="pixel",
            re_count=1,
            mean=MEAN,
            std=STD,
        )
        for step in self.transform.transforms:
            for op in getattr(step, "ops", ()):
                if "Posterize" in op.name:
                    op.level_fn = at_least_one_bit(op.level_fn)

    def __call__(self, image: np.ndarray, seed: Sequence[int]) -> Tensor:
        """Augment a picture uint8 [H, W, 3] to [3, size, size] float32;
        deterministic for a seed.
        """
        with fix_seed(seed):
            return self.transform(Image.fromarray(image))


class Cropper:
    """Resizes, crops and normalises pictures, without flips, because texts may name left and right.

    Small pictures are padded on the right and at the bottom with the mean colour.

    Args:
        params: parameters of the augmentation, of which only `scales` is used.
        size: side of the crops in pixels.
    """

    def __init__(self, params: AugmentParams, size: int) -> None:
        self.scales, self.size = params.scales, size

    def __call__(self, image: np.ndarray, seed: Sequence[int]) -> tuple[Tensor, Window]:
        """Crop a picture uint8 [H, W, 3] to [3, size, size] float32; deterministic for a seed.

        Returns:
            the crop, and the window of the whole picture in it.
        """
        rng, sides = np.random.default_rng(list(seed)), np.array(image.shape[:2])
        scale = rng.uniform(self.scales[0], self.scales[1]) * self.size / sides.min()
        large = np.maximum(1, np.round(sides * scale).astype(int))
        corner = rng.integers(np.maximum(0, large - self.size) + 1)
        part = np.minimum(large, self.size)
        top, left, bottom, right = (
            *(corner * sides / large),
            *np.minimum(sides, (corner + part) * sides / large),
        )
        crop = Image.fromarray(image).resize(
            (int(part[1]), int(part[0])),
            Image.Resampling.BILINEAR,
            (float(left), float(top), float(right), float(bottom)),
        )
        out = torch.zeros(3, self.size, self.size)
        out[:, : part[0], : part[1]] = normalise_image(np.array(crop))
        return out, Window(
            *(-corner / self.size).tolist(), *((large - corner) / self.size).tolist()
        )


def at_least_one_bit(level_fn: Callable[..., tuple[int, ...]]) -> Callable[..., tuple[int, ...]]:
    """Limit timm's posterize to at least one bit, because Pillow refuses 0 bits."""
    return lambda level, hparams: (max(1, level_fn(level, hparams)[0]),)


class OwnNumpy(ModuleType):
    """numpy, with a generator of random numbers of its own.

    Args:
        generator: takes the place of numpy.random.
    """

    def __init__(self, generator: np.random.RandomState) -> None:
        super().__init__("numpy")
        self.random = generator

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@functools.cache
def separate_generators() -> tuple[random.Random, np.random.RandomState]:
    """Let timm's transforms draw from these generators in place of the global ones.

    Threads of other libraries draw from the global ones, and a number that one of them takes while
    a picture is augmented would change the crop. Numbers for a seed are the same.
    """
    own, of_numpy = random.Random(), np.random.RandomState()
    for name in ("auto_augment", "random_erasing", "transforms"):
        module: Any = importlib.import_module(f"timm.data.{name}")
        module.random = own
        if hasattr(module, "np"):
            module.np = OwnNumpy(of_numpy)
    return own, of_numpy


@contextlib.contextmanager
def fix_seed(seed: Sequence[int]) -> Iterator[None]:
    """Seed the generators that timm's transforms draw from within the block. torch's is the global
    one, and continues afterwards where it was.
    """
    number = int(np.random.default_rng(list(seed)).integers(2**31))
    own, of_numpy = separate_generators()
    own.seed(number)
    of_numpy.seed(number)
    state = torch.get_rng_state()
    torch.manual_seed(number)
    try:
        yield
    finally:
        torch.set_rng_state(state)
