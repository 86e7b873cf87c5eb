"""Class-agnostic masks by Segment Anything (Kirillov et al., ICCV 2023), prompted with a grid of
points as in USE.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from captionseg.segmenters.interfaces import MaskMaker
from captionseg.segmenters.islands import remove_small_parts
from captionseg.segmenters.sam import load
from captionseg.typed import Count, Device, Natural, Share


@dataclass(frozen=True)
class SamAuto:
    """Parameters of `SamMasks`.

    Attributes:
        checkpoint: file with released weights.
        arch: architecture of the weights.
        device: auto, cpu, cuda or cuda:N.
        points: number of points along each side of the grid.
        batch: number of points at once.
        min_iou: masks with a lower predicted IoU are dropped; 0.6 in USE, 0.88 in SAM.
        min_stability: masks with a lower stability are dropped; 0.6 in USE, 0.95 in SAM.
        nms_iou: of two masks whose boxes overlap by more than this IoU, one is dropped.
        crop_layers: number of layers of crops that are prompted too: 4^i crops in layer i.
        small_area: smaller holes are filled and smaller islands removed, in pixels.
        max_masks: maximum number of masks per picture, the most stable.
        longest: pictures are shrunk to this longer side in pixels; SAM itself uses 1024.
    """

    checkpoint: str = ""
    arch: Literal["vit_h", "vit_l", "vit_b"] = "vit_h"
    device: Device = "auto"
    points: Count = 32
    batch: Count = 64
    min_iou: Share = 0.6
    min_stability: Share = 0.6
    nms_iou: Share = 0.7
    crop_layers: Natural = 0
    small_area: Natural = 100
    max_masks: Count = 256
    longest: Count = 1024

    def __post_init__(self) -> None:
        if min(self.points, self.batch, self.max_masks, self.longest) < 1:
            raise ValueError("sam_auto: points, batch, max_masks and longest must be at least 1")

    def build(self) -> MaskMaker:
        """Load the maker on the device.

        Raises:
            UserError: if the checkpoint is missing or invalid.
        """
        from captionseg.runtime.device import detect

        return SamMasks(
            load(Path(self.checkpoint), self.arch, "masks.sam_auto").to(detect(self.device).device),
            self,
        )


class SamMasks:
    """Makes masks with a Segment Anything model and a grid of points. See MaskMaker.

    Args:
        model: a `segment_anything.modeling.Sam`.
        params: its parameters.
    """

    def __init__(self, model: Any, params: SamAuto) -> None:
        from segment_anything import SamAutomaticMaskGenerator

        self.params = params
        # its own post-processing needs OpenCV; `remove_small_parts` does the same
        self.generator = SamAutomaticMaskGenerator(
            model,
            points_per_side=params.points,
            points_per_batch=params.batch,
            pred_iou_thresh=params.min_iou,
            stability_score_thresh=params.min_stability,
            box_nms_thresh=params.nms_iou,
            crop_n_layers=params.crop_layers,
            min_mask_region_area=0,
        )

    def masks(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See MaskMaker; masks have the size of the picture, at most `longest`."""
        small = shrink_image(image, self.params.longest)
        proposals = sorted(
            self.generator.generate(small), key=lambda mask: -mask["stability_score"]
        )
        selected = [mask for mask in proposals if mask["segmentation"].any()][
            : self.params.max_masks
        ]
        masks = np.zeros((len(selected), *small.shape[:2]), bool)
        for row, mask in enumerate(selected):
            masks[row] = remove_small_parts(mask["segmentation"], self.params.small_area)
        return masks, np.array([mask["stability_score"] for mask in selected], np.float32)


def shrink_image(image: np.ndarray, longest: int) -> np.ndarray:
    """Shrink uint8 [H, W, 3] to a longer side of at most `longest` pixels."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
