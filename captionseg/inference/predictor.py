"""Picture in, labels out: numpy at the door, tensors inside."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from captionseg import images
from captionseg.encoders import Encoder, load_encoder
from captionseg.encoders.dense_head import DenseHead
from captionseg.encoders.reduction import FILE as REDUCTION
from captionseg.inference.detections import Detections, detected
from captionseg.inference.windows import Protocol, Settled, label, mask_logits
from captionseg.inference.words import Encode, prompts_of, text_encoder
from captionseg.modeling.segmenter import InputSpec
from captionseg.modeling.weights import saved
from captionseg.prepared import normalised, pixel_inputs, stacked, without_regions
from captionseg.records import Inputs, UserError, one_line
from captionseg.remarks import once, quoted
from captionseg.runtime.device import detect
from captionseg.segmenters import REGION_MAKERS, MaskMaker, RegionMaker
from captionseg.segmenters.pooling import pool_regions
from captionseg.text.prompts import class_embeddings
from captionseg.typed import replaced

T = TypeVar("T")
LENGTHY = 32
"""Windows are scaled to 2048 pixels along the long side at most: the short one needs some patches
yet.
"""


@dataclass(frozen=True)
class Predictor:
    """A trained model with what it takes to prepare a picture for it.

    Attributes:
        model: a Segmenter.
        encode: texts -> [T, D].
        templates: that labels are put into.
        device: that the model runs on.
        prepare: picture -> inputs, on that device.
        protocol: how a whole picture is labelled.
    """

    model: Any
    encode: Encode
    templates: Sequence[str]
    device: str
    prepare: Callable[[np.ndarray], Inputs]
    protocol: Settled = field(default_factory=Settled)

    @staticmethod
    def load(
        folder: Path | str,
        *,
        device: str = "auto",
        background: float | None = None,
        protocol: Protocol | None = None,
    ) -> Predictor:
        """The model of a folder such as models/cocu-mil.

        Args:
            folder: that holds it.
            device: auto, cpu, cuda or cuda:N.
            background: threshold of models with groups, in place of the saved one.
            protocol: how a whole picture is labelled; None takes what was saved with the model.

        Raises:
            UserError: if the folder holds none, or one that knows no background.
        """
        folder, where = Path(folder), detect(device).device
        found = saved.load(folder)
        model, reads = found.model.to(where), found.model.config.reads
        if background is not None:
            if not hasattr(model.config, "zero_shot"):
                raise UserError(
                    f"{folder}: a {found.name} knows no background threshold; leave --background "
                    "out"
                )
            model.config = replaced(
                model.config, {"zero_shot": {"background": background}}, "config"
            )
        frozen = functools.cache(lambda: load_encoder(encoder_of(folder), device=device))
        encoder = frozen() if reads.encoder else None
        check_head(model, encoder, folder)
        try:
            settled = (protocol or Protocol()).of(found.context)
            method, masks = settled.refine.method, settled.masks
            prompts = prompts_of(model, found.context["prompts"])
            regions = (reads.labels and masks.maker == "regions") or method == "segments"
            maker = region_maker(found.context["regions"]) if regions else None
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(
                f"{folder}: not a model of this version of captionseg: config.json, context: "
                f"{one_line(error)}"
            ) from None
        if masks.maker != "regions":
            check_segments(model, f"{folder}: a {found.name}")
        encode = text_encoder(model, folder, frozen)
        prepare = Preparation(
            reads, encoder, maker, bool(reads.picture) or method == "pamr", masks.build()
        )

        def on_device(image: np.ndarray) -> Inputs:
            return prepare(image).map(lambda tensor: tensor.to(where))

        return Predictor(model, encode, prompts, where, on_device, settled)

    def segment(self, image: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """[H, W] int16: for each pixel of a uint8 image [H, W, 3] the number of the label that fits
        best.

        -1 where a model with a background threshold finds that none does.

        Raises:
            UserError: for no label, or an array that is no such image.
        """
        found = self._run(label, image, labels).cpu().numpy().astype(np.int16)
        choices = getattr(self.model.config, "zero_shot", None)
        if len(labels) == 1 and getattr(choices, "background", None) is None:
            once(
                f"labels: with {quoted(labels[0])} alone and no background every pixel is that; "
                "name what else there is"
            )
        return found

    def logits(self, image: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """[C, H, W] float32 mask logits: cosines of pixels and labels. Raises as `segment`."""
        return self._run(mask_logits, image, labels).float().cpu().numpy()

    def detect(
        self, image: np.ndarray, labels: Sequence[str], background: Sequence[str] = ()
    ) -> Detections:
        """Masks that look like one of the labels, such as parts of things, more than like any of
        the background.

        Args:
            image: uint8 [H, W, 3].
            labels: what to look for; `classes` are their numbers.
            background: what else there may be: other things, stuff, the whole of which labels are
                parts.

        Raises:
            UserError: as `segment`, and for a model that reads no segments.
        """
        check_segments(self.model, "this model")
        wanted = torch.arange(len(labels) + len(background), device=self.device) < len(labels)

        def head(model: Any, inputs: Inputs, classes: torch.Tensor, _: Settled) -> Detections:
            return detected(model, inputs, classes, wanted)

        return self._run(head, image, [*labels, *background] if labels else [])

    def _run(self, head: Callable[..., T], image: np.ndarray, labels: Sequence[str]) -> T:
        if not labels:
            raise UserError('labels: give at least one, for example --labels "zebra, grass"')
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise UserError(
                f"image: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}"
            )
        height, width = image.shape[:2]
        if self.model.config.reads.windows and max(height, width) > LENGTHY * min(height, width):
            raise UserError(
                f"image: {width} x {height} pixels: one side is more than {LENGTHY} times the "
                "other, which this model sees nothing of; cut it into parts"
            )
        classes = torch.from_numpy(class_embeddings(labels, self.encode, self.templates)).to(
            self.device
        )
        with torch.inference_mode():
            return head(self.model, self.prepare(image), classes, self.protocol)


def encoder_of(folder: Path) -> Path:
    """Where the frozen encoder of a model lies: beside it, or, for a seed of a recipe, beside the
    recipe's.
    """
    own, recipe = folder / "encoder", folder.absolute().parent
    if not own.exists() and recipe.name == "seeds" and (recipe.parent / "encoder").exists():
        return (
            folder.parent.parent / "encoder" if len(folder.parts) > 2 else recipe.parent / "encoder"
        )
    return own


def check_encoder(model: Path, features: Path) -> None:
    """Refuse features of another encoder than that of a model: of the same width they would be
    taken for its own.

    Args:
        model: its folder, with or without an encoder beside it.
        features: folder of the encoder that the features were made by.

    Raises:
        UserError: that names both.
    """
    own = encoder_of(model)
    if own.is_dir() and features.is_dir() and made_by(own) != made_by(features):
        raise UserError(
            f"{model}: its encoder ({own}) is another than that of the features ({features}); take "
            "a model that was trained on them"
        )


def made_by(folder: Path) -> tuple[object, bytes]:
    """What decides the features of an encoder's folder: its params but for the size of batches, and
    its reduction.
    """
    try:
        config = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        said = (
            config["encoder"],
            {key: value for key, value in config["params"].items() if key != "batch"},
        )
        return said, (folder / REDUCTION).read_bytes() if (folder / REDUCTION).exists() else b""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}/encoder.json: cannot be read ({one_line(error)})") from None


def check_head(model: Any, encoder: Encoder | None, folder: Path) -> None:
    """Refuse a model whose copy of the encoder's last block has another activation than the
    encoder.

    Raises:
        UserError: that says so.
    """
    head = None if encoder is None else encoder.head
    for copied in (
        m.config for m in model.modules() if isinstance(m, DenseHead) and m.config.hidden
    ):
        if head is not None and head.config.hidden and head.config.quick != copied.quick:
            names = [
                "QuickGELU" if quick else "GELU" for quick in (copied.quick, head.config.quick)
            ]
            raise UserError(
                f"{folder}: was trained with {names[0]} in the encoder's last block, but its "
                f"encoder has {names[1]}; train it again"
            )


def check_segments(model: Any, what: str) -> None:
    """Refuses masks for a model that can do nothing with them.

    Raises:
        UserError: that begins with `what`.
    """
    if not hasattr(model, "mask_scores"):
        raise UserError(f"{what} reads no segments; leave masks out, or take a model such as use")


def region_maker(section: dict[str, Any]) -> RegionMaker:
    """Of the section `regions` of the params."""
    return REGION_MAKERS[section["maker"]](**(section.get(section["maker"]) or {}))


@dataclass(frozen=True)
class Preparation:
    """Picture -> inputs, as the stages make them.

    Attributes:
        reads: of the model.
        encoder: of the features; None where the model needs none.
        maker: of regions; None where nobody looks at them.
        pixels: whether anybody looks at them.
        masks: makes masks that take the part of regions, if anything does.
    """

    reads: InputSpec
    encoder: Encoder | None
    maker: RegionMaker | None
    pixels: bool
    masks: MaskMaker | None = None

    def __call__(self, image: np.ndarray) -> Inputs:
        """The inputs of uint8 [H, W, 3]."""
        size = (image.shape[0], image.shape[1])
        inputs = (
            pixel_inputs(normalised(image)[None], size) if self.pixels else without_regions(1, size)
        )
        if self.masks is not None:
            inputs = replace(inputs, masks=stacked([self.masks.masks(image)[0]]))
        if self.encoder is None or self.reads.picture:
            return replace(inputs, **self.regions(image, None))
        # fp16 as it is stored for training
        dense = self.encoder.features([image]).dense[0].astype(np.float16)
        return replace(
            inputs,
            dense=torch.from_numpy(dense.astype(np.float32))[None],
            **self.regions(image, dense),
        )

    def regions(self, image: np.ndarray, dense: np.ndarray | None) -> dict[str, torch.Tensor]:
        """Fields of Inputs: labels, and features where there are any."""
        if self.maker is None:
            return {}
        labels = self.maker.regions(image)
        count = int(labels.max()) + 1
        pooled = (
            np.zeros((count, 0), np.float32)
            if dense is None
            else pool_regions(dense, labels, count)
        )
        return {
            "regions": torch.from_numpy(pooled.astype(np.float16).astype(np.float32))[None],
            "region_mask": torch.ones(1, count, dtype=torch.bool),
            "labels": torch.from_numpy(np.ascontiguousarray(labels))[None],
        }


def read_image(path: Path | str) -> np.ndarray:
    """uint8 [H, W, 3] of an image file, by the same rules as download has them
    (`captionseg/images.py`).

    Raises:
        UserError: if it is missing, no image, too large to open safely, or of pixels whose range
            nobody knows.
    """
    try:
        return images.pixels(images.contents(path), name=str(path))
    except images.Unreadable as error:
        missing = str(error) == "no such file"
        raise UserError(
            f"{path}: {'' if missing else 'not an image that can be read: '}{error}"
        ) from None
