"""Class-agnostic masks by SAM 2 (Ravi et al., arXiv 2408.00714) of transformers, prompted with a
grid of points as SAM is in USE.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from captionseg.segmenters.interfaces import MaskMaker
from captionseg.segmenters.islands import remove_small_parts
from captionseg.segmenters.sam import measure_stability
from captionseg.segmenters.sam_auto import shrink_image
from captionseg.typed import Count, Device, Natural, Share, ZeroOrMore

if TYPE_CHECKING:
    import torch

    from captionseg.segmenters.prompted_sam import Embedded, PromptedSam


@dataclass(frozen=True)
class Sam2Auto:
    """Parameters of `Sam2Masks`.

    Attributes:
        checkpoint: local folder of a SAM 2 of transformers, see Sam2.
        device: auto, cpu, cuda or cuda:N.
        points: number of points along each side of the grid.
        batch: number of points at once.
        min_iou: masks whose predicted IoU is not above it are dropped; 0.6 in USE, 0.8 in SAM 2.
        min_stability: masks whose stability is below it are dropped; 0.6 in USE, 0.95 in SAM 2.
        offset: offset of the logit thresholds for the stability.
        nms_iou: of two masks whose boxes overlap by more than this IoU, that of lower predicted IoU
            is dropped.
        small_area: smaller holes are filled and smaller islands removed, in pixels.
        max_masks: maximum number of masks per picture, the most stable.
        longest: pictures are shrunk to this longer side in pixels; SAM 2 itself uses 1024.
    """

    checkpoint: str = ""
    device: Device = "auto"
    points: Count = 32
    batch: Count = 64
    min_iou: Share = 0.6
    min_stability: Share = 0.6
    offset: ZeroOrMore = 1.0
    nms_iou: Share = 0.7
    small_area: Natural = 100
    max_masks: Count = 256
    longest: Count = 1024

    def build(self) -> MaskMaker:
        """Load the maker on the device.

        Raises:
            UserError: if the checkpoint is missing or invalid.
        """
        return load_masks(self, "masks.sam2_auto.checkpoint")


def load_masks(params: Sam2Auto, where: str) -> Sam2Masks:
    """Load the maker of masks on its device; `where` is the dotted path of its checkpoint.

    Raises:
        UserError: if the checkpoint is missing or invalid.
    """
    from captionseg.runtime.device import detect
    from captionseg.segmenters.prompted_sam import PromptedSam

    model = PromptedSam.load_sam2(Path(params.checkpoint), where)
    return Sam2Masks(model.to(detect(params.device).device), params)


class Sam2Masks:
    """Makes masks with a SAM 2 and a grid of points. See MaskMaker.

    Args:
        model: the model.
        params: its parameters.
    """

    def __init__(self, model: PromptedSam, params: Sam2Auto) -> None:
        self.model, self.params = model, params

    def masks(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See MaskMaker; masks have the size of the picture, at most `longest`."""
        import torch

        small, params = shrink_image(image, self.params.longest), self.params
        points = lay_grid(params.points, small)
        with torch.inference_mode():
            picture = self.model.embed(small)
            parts = [
                self.propose(picture, points[start : start + params.batch])
                for start in range(0, len(points), params.batch)
            ]
        packed, boxes, iou, stability = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        kept = suppress(boxes, iou, params.nms_iou)
        kept = kept[np.argsort(-stability[kept], kind="stable")][: params.max_masks]
        masks = np.zeros((len(kept), *small.shape[:2]), bool)
        for row, number in enumerate(kept):
            mask = np.unpackbits(packed[number], count=masks[row].size).reshape(masks[row].shape)
            masks[row] = remove_small_parts(mask.astype(bool), params.small_area)
        return masks, stability[kept]

    def propose(
        self, picture: Embedded, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the good masks of some points [n, 2], at most three a point.

        Returns:
            masks as bits [k, H W / 8], since there may be thousands; their bounding boxes [k, 4],
            predicted IoU [k] and stability [k].
        """
        from torchvision.ops import masks_to_boxes

        logits, iou = self.model.predict(picture, points, multimask=True)
        masks, iou, stability = select_good(logits.flatten(0, 1), iou.flatten(), self.params)
        packed = np.packbits(masks.flatten(1).cpu().numpy(), axis=1)
        boxes = masks_to_boxes(masks).cpu().numpy()
        return packed, boxes, iou.cpu().numpy(), stability.cpu().numpy()


def lay_grid(count: int, image: np.ndarray) -> np.ndarray:
    """Return the centres x, y in pixels of count x count cells of a picture, [count^2, 2], row by
    row.
    """
    height, width = image.shape[:2]
    shares = (np.arange(count) + 0.5) / count
    y, x = np.meshgrid(shares * height, shares * width, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def select_good(
    logits: torch.Tensor, iou: torch.Tensor, params: Sam2Auto
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Select masks by predicted IoU and stability.

    Args:
        logits: [n, H, W] mask logits.
        iou: [n] predicted IoU.
        params: the thresholds.

    Returns:
        masks [k, H, W], predicted IoU [k] and stability [k]; none is empty.
    """
    good = iou > params.min_iou
    logits, iou = logits[good], iou[good]
    stability, masks = measure_stability(logits, 0.0, params.offset), logits > 0
    stable = (stability >= params.min_stability) & masks.flatten(1).any(1)
    return masks[stable], iou[stable], stability[stable].float()


def suppress(boxes: np.ndarray, score: np.ndarray, iou: float) -> np.ndarray:
    """Return the numbers of boxes [n, 4] that survive NMS by score [n], best first."""
    import torch
    from torchvision.ops import nms

    return nms(torch.from_numpy(boxes), torch.from_numpy(score), iou).numpy()
