"""Picture in, labels out: numpy at the door, tensors inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captionseg.encoders import Encoder, load_encoder
from captionseg.modeling import saved
from captionseg.records import Inputs, UserError
from captionseg.runtime import detect
from captionseg.segmenters import REGION_MAKERS, RegionMaker
from captionseg.segmenters.pooling import pool_regions
from captionseg.text.prompts import TEMPLATES, class_embeddings


@dataclass(frozen=True)
class Predictor:
    """A trained model with the encoder and the region maker that it was trained on."""

    model: Any
    encoder: Encoder
    regions: RegionMaker
    templates: Sequence[str]
    device: str = "cpu"

    @staticmethod
    def load(folder: Path | str, *, device: str = "auto") -> Predictor:
        """The model of a folder such as models/cocu-mil.

        Raises:
            UserError: if the folder holds none.
        """
        found = saved.load(Path(folder))
        try:
            regions = found.context["regions"]
            maker = REGION_MAKERS[regions["maker"]](**(regions.get(regions["maker"]) or {}))
            templates = TEMPLATES[found.context["prompts"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder}: not a model of this version of captionseg: config.json, context: "
                            f"{str(error).splitlines()[0]}") from None
        encoder = load_encoder(Path(folder) / "encoder", device=device)
        where = detect(device).device
        return Predictor(found.model.to(where), encoder, maker, templates, where)

    def segment(self, image: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """[H, W] int16: for each pixel of a uint8 image [H, W, 3] the number of the label that fits best.

        Raises:
            UserError: for no label, or an array that is no such image.
        """
        return self._run(self.model.label, image, labels).cpu().numpy().astype(np.int16)

    def logits(self, image: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """[C, H, W] float32 mask logits: cosines of pixels and labels. Raises as `segment`."""
        return self._run(self.model.segment, image, labels).float().cpu().numpy()

    def _run(self, head: Callable[[Inputs, torch.Tensor], torch.Tensor], image: np.ndarray,
             labels: Sequence[str]) -> torch.Tensor:  # fmt: skip
        if not labels:
            raise UserError("labels: give at least one, for example --labels \"zebra, grass\"")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise UserError(f"image: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
        classes = torch.from_numpy(class_embeddings(labels, self.encoder.text, self.templates))
        inputs = self.prepare(image)
        with torch.inference_mode():
            return head(inputs, classes.to(self.device))[0]

    def prepare(self, image: np.ndarray) -> Inputs:
        """The inputs of one image, as the stages index and regions make them."""
        dense = self.encoder.features([image]).dense[0].astype(np.float16)  # fp16 as it is stored for training
        labels = self.regions.regions(image)
        count = int(labels.max()) + 1
        pooled = pool_regions(dense, labels, count).astype(np.float16).astype(np.float32)
        tensors = (torch.from_numpy(pooled)[None], torch.ones(1, count, dtype=torch.bool),
                   torch.from_numpy(np.ascontiguousarray(labels))[None])
        return Inputs(*(t.to(self.device) for t in tensors), size=(image.shape[0], image.shape[1]))


def read_image(path: Path | str) -> np.ndarray:
    """uint8 [H, W, 3] of an image file, upright, whatever its mode.

    Raises:
        UserError: if it is missing, no image, or too large to open safely.
    """
    import warnings

    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged tags
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: not an image that can be read: {error}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels; shrink it first") from None
