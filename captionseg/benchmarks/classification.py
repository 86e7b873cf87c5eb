"""Zero-shot classification of whole pictures: the rank of the true class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from captionseg import metrics
from captionseg.inference.class_embeddings import SUBSET
from captionseg.inference.classify import classify, embed_picture
from captionseg.inference.image_files import read_image
from captionseg.inference.labelling import Labeller
from captionseg.inference.preparation import build_preparation
from captionseg.inference.protocols import ScoringOptions
from captionseg.modeling.capabilities import EmbedsImages
from captionseg.prepared import without_regions

PROMPTS = SUBSET
AT = (1, 5)
SHARE = 224 / 256
"""Share of the short side that the centre crop keeps."""
COARSE = (56, 56)
"""Size of mask logits whose mean is used; 1000 classes at full size would need a gigabyte."""


class Item(NamedTuple):
    """One picture and the number of its class.

    Attributes:
        uid: of the picture.
        image: its file, or the folder of shards that it lies in.
        label: number of its class.
    """

    uid: str
    image: Path
    label: int


def read_file(item: Item) -> np.ndarray:
    """Read the file of a picture, uint8 [H, W, 3].

    Raises:
        UserError: see `read_image`.
    """
    return read_image(item.image)


@dataclass(frozen=True)
class ClassificationSet:
    """Pictures with one class each.

    Attributes:
        names: [C] names of the classes, as they are prompted.
        items: the pictures.
        read: returns the pixels of a picture, uint8 [H, W, 3].
    """

    names: tuple[str, ...]
    items: tuple[Item, ...]
    read: Callable[[Item], np.ndarray] = read_file

    def __len__(self) -> int:
        return len(self.items)


def crop_centre(image: np.ndarray, side: int) -> np.ndarray:
    """Crop the central square, 0.875 of the short side.

    Args:
        image: uint8 [H, W, 3].
        side: side of the crop in pixels, to which the picture is resized first (256 to 224); 0
            does not resize.
    """
    height, width = image.shape[:2]
    if side:
        scale = round(side / SHARE) / min(height, width)
        size = (max(side, round(width * scale)), max(side, round(height * scale)))
        image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    cut = side or max(1, round(SHARE * min(height, width)))
    top, left = ((length - cut) // 2 for length in image.shape[:2])
    return image[top : top + cut, left : left + cut]


def rank_of_class(scores: np.ndarray, label: int) -> int:
    """Return the rank of a class among scores [C], from 1; equal scores are in order of classes."""
    own = scores[label]
    return 1 + int((scores > own).sum() + (scores[:label] == own).sum())


def rank_pictures(
    model: Labeller, benchmark: ClassificationSet, options: ScoringOptions
) -> np.ndarray:
    """Return the rank of the true class of each picture, [n] int64 from 1."""
    loaded, classes = model.loaded, model.classes
    assert classes is not None
    own = isinstance(loaded.model, EmbedsImages)
    prepare = build_preparation(model.reads, "none", None, encoder=loaded.frozen, maker=model.maker)
    places = []
    for item in tqdm(benchmark.items, desc="classify", unit="img", leave=False):
        image = crop_centre(benchmark.read(item), model.reads.picture)
        picture_embedding = None if own else embed_picture(loaded.model, loaded.frozen(), image)
        inputs = (
            without_regions(1, COARSE)
            if picture_embedding is not None
            else replace(prepare(image), size=COARSE)
        )
        with torch.inference_mode():
            moved = None if picture_embedding is None else picture_embedding.to(loaded.device)
            scores = classify(loaded.model, loaded.on_device(inputs), classes, moved)
        places.append(rank_of_class(scores[0].float().cpu().numpy(), item.label))
    return np.array(places, np.int64)


def summarise_ranks(
    runs: Sequence[np.ndarray], benchmark: ClassificationSet, options: ScoringOptions
) -> tuple[dict[str, float], dict[str, float]]:
    """Summarise the ranks of all seeds, in per cent.

    Args:
        runs: for each seed the ranks [n].
        benchmark: the pictures.
        options: number and seed of the bootstrap.

    Returns:
        acc1 and acc5, means over seeds, with 95 % bootstrap intervals over pictures, and acc1_std,
        the standard deviation over seeds (n - 1); and acc1 of each class.
    """
    # [n, seeds, 2]
    right = np.stack([np.stack(runs) <= k for k in AT], -1).astype(np.float64).swapaxes(0, 1)
    each = right.mean(0)
    drawn = metrics.bootstrap(right, samples=options.bootstrap, seed=options.seed).mean(1) / len(
        right
    )
    out = {}
    for number, k in enumerate(AT):
        low, high = metrics.interval(drawn[:, number])
        out |= {f"acc{k}": each[:, number].mean(), f"acc{k}_low": low, f"acc{k}_high": high}
    out["acc1_std"] = each[:, 0].std(ddof=1) if len(runs) > 1 else 0.0
    labels = np.array([item.label for item in benchmark.items])
    twice = {name for name, times in Counter(benchmark.names).items() if times > 1}
    name = {
        c: benchmark.names[c] + (f" ({c})" if benchmark.names[c] in twice else "")
        for c in np.unique(labels)
    }
    classes = {name[c]: right[labels == c, :, 0].mean() for c in np.unique(labels)}
    return tuple(
        {key: round(100.0 * float(value), 4) for key, value in part.items()}
        for part in (out, classes)
    )  # type: ignore[return-value]
