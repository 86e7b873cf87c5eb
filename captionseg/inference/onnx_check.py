"""Labels pictures by an exported model, and compares the labels with the model's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from captionseg.grids import squash
from captionseg.inference.image_files import read_image
from captionseg.inference.other_words import read_concepts
from captionseg.inference.predictor import Predictor
from captionseg.inference.windows import resize_short_side, slide_windows
from captionseg.prepared import normalise_image
from captionseg.records import UserError
from captionseg.storage.writing import atomic_path

INSTALL = "pip install 'captionseg[export]'"
MOST = 10
"""Pictures of a folder, and concepts, that a check takes."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SAME = 0.999
"""Least share of pixels that must have the same label as from the model itself."""

Run = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Function from the inputs of an exported model to its scores."""


def open_session(path: Path) -> Run:
    """Open an exported model with onnxruntime, on the CPU.

    Raises:
        UserError: if onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"onnxruntime is not installed: {INSTALL}") from None
    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def compare(
    path: Path, predictor: Predictor, images: Iterable[np.ndarray], labels: Sequence[str]
) -> float:
    """Return the share of all pixels that an exported model gives the same label as the model.

    Args:
        path: the ONNX file.
        predictor: the model, in fp32, see captionseg.inference.onnx_export.
        images: pictures uint8 [H, W, 3], at least one.
        labels: labels to choose from.
    """
    run, classes = open_session(path), predictor.embed_labels(labels)
    same = total = 0
    for image in images:
        found = label(run, predictor, image, classes)
        own = predictor.segment(image, labels)
        same, total = same + int((found == own).sum()), total + own.size
    return same / total


def list_pictures(paths: Sequence[Path]) -> list[Path]:
    """List files, and of each folder the first ten pictures by name.

    Raises:
        UserError: for a folder without a picture.
    """
    found = []
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        kept = [file for file in inside if not path.is_dir() or file.suffix.lower() in SUFFIXES]
        if not kept:
            raise UserError(f"{path}: no picture ({', '.join(SUFFIXES)}); name files")
        found += kept[:MOST]
    return found


def check(
    path: Path, predictor: Predictor, files: Sequence[Path], labels: Sequence[str], *, least: int
) -> str:
    """Check an exported model on pictures; return what was found, for people.

    Args:
        path: the ONNX file.
        predictor: the model.
        files: pictures; none checks nothing.
        labels: labels to choose from; none takes the first concepts of the model's training.
        least: smallest number of labels that the graph takes.

    Raises:
        UserError: for too few labels, and if too many pixels get another label.
    """
    if not files:
        return "not checked: --check PICTURE compares its labels with those of the model"
    asked = list(labels) or read_concepts(predictor.labeller.loaded.folder)[:MOST]
    if len(asked) < least:
        raise UserError(f"--labels: this model needs at least {least} labels, found {len(asked)}")
    same = compare(path, predictor, map(read_image, files), asked)
    many = f"{len(files)} picture{'s' * (len(files) != 1)}"
    said = f"{many}: {100 * same:.3f} % of the pixels have the model's label in fp32"
    if same < SAME:
        raise UserError(f"{said}, less than {100 * SAME:g} %: nothing is written")
    return said


def write_labels(predictor: Predictor, labels: Sequence[str], path: Path) -> str:
    """Write labels and their embeddings, an exported model's `classes`, as `labels` and `classes`
    of an .npz file; return what was written, for people.
    """
    classes = predictor.embed_labels(labels)
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, labels=np.array(labels), classes=classes)
    return f"{path}: embeddings {list(classes.shape)} of {len(labels)} labels"


def label(
    run: Run,
    predictor: Predictor,
    image: UInt8[np.ndarray, "height width 3"],
    classes: Float[np.ndarray, "class embedding"],
) -> Int[np.ndarray, "height width"]:
    """Return the class of each pixel by an exported model, -1 for background."""
    if predictor.model.config.reads.regions:
        return label_regions(run, predictor, image, classes)
    return label_windows(run, predictor, image, classes)


def label_regions(
    run: Run, predictor: Predictor, image: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return `label` by a graph of regions."""
    maker, encoder = predictor.labeller.maker, predictor.labeller.loaded.frozen()
    assert maker is not None
    side = getattr(encoder, "encoder", encoder).size  # type: ignore[attr-defined]
    scores = run(
        {
            "picture": squash(image, side)[None],
            "regions": maker.regions(image)[None].astype(np.int64),
            "classes": classes,
        }
    )
    best = torch.from_numpy(scores.argmax(1)[:, None] - (scores.shape[1] - len(classes)))
    return F.interpolate(best.float(), image.shape[:2], mode="nearest-exact")[0, 0].long().numpy()


def label_windows(
    run: Run, predictor: Predictor, image: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return `label` by a graph of windows."""
    side = 2 * predictor.model.config.reads.picture

    def predict(windows: Tensor) -> Tensor:
        rows = [run({"window": one[None].numpy(), "classes": classes}) for one in windows]
        return torch.from_numpy(np.concatenate(rows))

    small = resize_short_side(normalise_image(image), side)
    logits = slide_windows(small, predict, crop=side, stride=side // 2)
    full = F.interpolate(logits[None], image.shape[:2], mode="bilinear", align_corners=False)[0]
    best = full.max(0)
    constant = predictor.protocol.background
    if constant.policy == "constant" and constant.score is not None:
        return best.indices.masked_fill(best.values < constant.score, -1).numpy()
    return (best.indices - (len(full) - len(classes))).numpy()
