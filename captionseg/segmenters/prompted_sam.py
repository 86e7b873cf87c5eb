"""Segment Anything models of transformers, prompted with boxes or points: SAM 2 and SAM-HQ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captionseg.runtime.transformers_folder import TransformersFolder
from captionseg.segmenters.sam import ChoiceParams, choose_masks

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Embedded:
    """A picture that a model has embedded once for all prompts.

    Attributes:
        features: arguments of the model's `forward`.
        size: (height, width) of the picture.
        seen: (height, width) that it was resized to.
        shape: arguments of the processor's `post_process_masks`.
    """

    features: dict[str, Any]
    size: tuple[int, int]
    seen: tuple[int, int]
    shape: dict[str, Any]


@dataclass(frozen=True)
class PromptedSam:
    """A SAM 2 or SAM-HQ with its processor.

    Attributes:
        model: a `Sam2Model` or `SamHQModel` of transformers, in evaluation mode.
        processor: its image processor.
    """

    model: Any
    processor: Any

    @staticmethod
    def load_sam2(folder: Path, where: str) -> PromptedSam:
        """Load a SAM 2 from a local folder, on the CPU; of a video model the part for pictures.

        Args:
            folder: the folder.
            where: dotted path of the folder in params.yaml, for messages.

        Raises:
            UserError: if the folder is missing, has another model or incomplete weights.
        """
        from transformers import Sam2ImageProcessor, Sam2Model

        parts = TransformersFolder(folder, ("sam2", "sam2_video"), "SAM 2", where)
        model = parts.load_model(Sam2Model).requires_grad_(False)
        return PromptedSam(model, parts.load(Sam2ImageProcessor))

    @staticmethod
    def load_sam_hq(folder: Path, where: str) -> PromptedSam:
        """Load a SAM-HQ; see `load_sam2`."""
        from transformers import SamHQModel, SamImageProcessor

        parts = TransformersFolder(folder, ("sam_hq",), "SAM-HQ", where)
        model = parts.load_model(SamHQModel).requires_grad_(False)
        return PromptedSam(model, parts.load(SamImageProcessor))

    def to(self, device: str) -> PromptedSam:
        """Return the same on a device."""
        return replace(self, model=self.model.to(device))

    def embed(self, image: np.ndarray) -> Embedded:
        """Embed a picture uint8 [H, W, 3]."""
        # the format is said, since a picture of one row of pixels could be taken for another one
        inputs = self.processor(
            images=[image], return_tensors="pt", input_data_format="channels_last"
        )
        pixels = inputs.pop("pixel_values").to(self.model.device)
        embeddings = self.model.get_image_embeddings(pixels)
        features: dict[str, Any] = {"image_embeddings": embeddings}
        if isinstance(embeddings, tuple):  # of SAM-HQ
            names = ("image_embeddings", "intermediate_embeddings")
            features = dict(zip(names, embeddings, strict=True))
        shape = {name: value.tolist() for name, value in inputs.items()}
        height, width = shape.get("reshaped_input_sizes", [pixels.shape[2:]])[0]
        return Embedded(features, (image.shape[0], image.shape[1]), (height, width), shape)

    def predict(
        self, picture: Embedded, prompts: np.ndarray, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the masks of n boxes or points.

        Args:
            picture: result of `embed`.
            prompts: [n, 4] boxes x0 y0 x1 y1, or [n, 2] points x y, in pixels.
            multimask: whether the model makes three masks of each, or one.

        Returns:
            mask logits [n, M, H, W] in the size of the picture, and the predicted IoU [n, M].
        """
        import torch

        scale = np.array([*picture.seen[::-1]]) / np.array([*picture.size[::-1]])
        scaled = (prompts.reshape(len(prompts), -1, 2) * scale).astype(np.float32)
        moved = torch.from_numpy(scaled).to(self.model.device)
        named = (
            {"input_points": moved[None]}
            if prompts.shape[1] == 2
            else {"input_boxes": moved.flatten(1)[None]}
        )
        out = self.model(**picture.features, **named, multimask_output=multimask)
        masks = self.processor.post_process_masks(
            [out.pred_masks[0].float()], **picture.shape, binarize=False
        )[0]
        return masks, out.iou_scores[0].float()


class PromptedSegmenter:
    """Makes masks for boxes with a PromptedSam. See BoxSegmenter.

    Args:
        model: the model.
        params: how masks are chosen, see `captionseg.segmenters.sam.Sam`.
        multimask: whether one of three masks is chosen.
        batch: number of boxes at once.
    """

    def __init__(
        self, model: PromptedSam, params: ChoiceParams, *, multimask: bool, batch: int
    ) -> None:
        self.model, self.params, self.multimask, self.batch = model, params, multimask, batch

    def masks(
        self, image: np.ndarray, boxes: np.ndarray, *, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See BoxSegmenter. The image is embedded once for all boxes."""
        import torch

        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        masks, stability = (
            np.zeros((len(boxes), *image.shape[:2]), bool),
            np.zeros(len(boxes), np.float32),
        )
        if not len(boxes):
            return masks, stability
        with torch.inference_mode():
            picture = self.model.embed(image)
            for start in range(0, len(boxes), self.batch):
                rows = slice(start, start + self.batch)
                logits, iou = self.model.predict(picture, boxes[rows], multimask=self.multimask)
                masks[rows], stability[rows] = choose_masks(logits, iou, self.params)
        return masks, stability
