"""Masks for boxes by Segment Anything (Kirillov et al., ICCV 2023), prompted as in USE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from captionseg.records import UserError
from captionseg.segmenters.islands import remove_small_parts
from captionseg.typed import Count, Device, Natural, Share, ZeroOrMore

if TYPE_CHECKING:
    import torch

    from captionseg.segmenters.interfaces import BoxSegmenter


@dataclass(frozen=True)
class Sam:
    """Parameters of `SamSegmenter`.

    Attributes:
        checkpoint: file with released weights, such as `sam_vit_h_4b8939.pth`.
        arch: architecture of the weights.
        device: auto, cpu, cuda or cuda:N.
        multimask: whether SAM makes three masks per box, of which the most stable is used (USE),
            or one, as SAM's authors recommend for boxes.
        min_iou: masks whose predicted IoU is not above it are empty.
        offset: offset of the logit thresholds for the stability, see `measure_stability`.
        small_area: smaller holes are filled and smaller islands removed, in pixels.
        batch: number of boxes at once.
    """

    checkpoint: str = ""
    arch: Literal["vit_h", "vit_l", "vit_b"] = "vit_h"
    device: Device = "auto"
    multimask: bool = True
    min_iou: Share = 0.6
    offset: ZeroOrMore = 1.0
    small_area: Natural = 100
    batch: Count = 16

    def build(self) -> BoxSegmenter:
        """Load the segmenter on the device.

        Raises:
            UserError: if the checkpoint is missing or invalid.
        """
        from captionseg.runtime.device import detect

        return SamSegmenter(
            load(Path(self.checkpoint), self.arch).to(detect(self.device).device), self
        )


def load(checkpoint: Path, arch: str, where: str = "segment_text.sam") -> Any:
    """Load a released Segment Anything model; only tensors are read from the file.

    Args:
        checkpoint: file of the weights.
        arch: key of `sam_model_registry`.
        where: section of the params, for messages.

    Raises:
        UserError: if the file is missing or invalid.
    """
    import torch
    from segment_anything import sam_model_registry

    from captionseg.runtime.weights import check_finite

    if not checkpoint.is_file():
        raise UserError(
            f"{where}.checkpoint: no file {str(checkpoint)!r}; give the path of the {arch} weights"
        )
    model = sam_model_registry[arch]()
    try:
        weights = torch.load(checkpoint, weights_only=True, map_location="cpu")
        check_finite(weights, checkpoint)
        model.load_state_dict(weights)
    except UserError:
        raise
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(
            f"{checkpoint}: not the weights of SAM {arch} ({line}); check {where}.arch"
        ) from None
    return model.eval()


class SamSegmenter:
    """Makes masks for boxes with a Segment Anything model. See BoxSegmenter.

    Args:
        model: a `segment_anything.modeling.Sam`.
        params: its parameters.
    """

    def __init__(self, model: Any, params: Sam) -> None:
        from segment_anything import SamPredictor

        self.predictor, self.params = SamPredictor(model), params

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
        self.predictor.set_image(image)
        moved_boxes = torch.from_numpy(boxes).to(self.predictor.device)
        prompts = self.predictor.transform.apply_boxes_torch(moved_boxes, image.shape[:2])
        for start in range(0, len(boxes), self.params.batch):
            rows = slice(start, start + self.params.batch)
            logits, iou, _ = self.predictor.predict_torch(
                None,
                None,
                boxes=prompts[rows],
                multimask_output=self.params.multimask,
                return_logits=True,
            )
            masks[rows], stability[rows] = self._best(logits, iou)
        return masks, stability

    def _best(self, logits: torch.Tensor, iou: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Select the most stable mask of each box.

        Args:
            logits: [B, M, H, W] logits of M masks per box.
            iou: [B, M] predicted IoU.

        Returns:
            masks [B, H, W] and their stability [B].
        """
        return choose_masks(logits, iou, self.params, self.predictor.model.mask_threshold)


class ChoiceParams(Protocol):
    """How one of several masks is chosen; see Sam."""

    @property
    def min_iou(self) -> float: ...

    @property
    def offset(self) -> float: ...

    @property
    def small_area(self) -> int: ...


def choose_masks(
    logits: torch.Tensor, iou: torch.Tensor, params: ChoiceParams, threshold: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the most stable mask of each prompt; of equally stable ones that of highest IoU.

    Args:
        logits: [B, M, H, W] logits of M masks per prompt.
        iou: [B, M] predicted IoU.
        params: a mask whose predicted IoU is not above `min_iou` is empty.
        threshold: threshold of the masks.

    Returns:
        masks [B, H, W] and their stability [B], 0 for an empty mask.
    """
    import torch

    stability = measure_stability(logits, threshold, params.offset)
    stable = stability == stability.amax(dim=1, keepdim=True)
    best = torch.where(stable, iou, -torch.inf).argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    masks = logits[rows, best] > threshold
    masks &= (iou[rows, best] > params.min_iou)[:, None, None]
    cleaned = [remove_small_parts(mask, params.small_area) for mask in masks.cpu().numpy()]
    confirmed = torch.where(masks.flatten(1).any(1), stability[rows, best], 0.0)
    return np.stack(cleaned), confirmed.float().cpu().numpy()


def measure_stability(logits: torch.Tensor, threshold: float, offset: float) -> torch.Tensor:
    """Return the IoU [..] of masks at `threshold` plus and minus `offset`; 0 if both are empty.

    This is `calculate_stability_score` of segment_anything without NaN.

    Args:
        logits: [.., H, W] logits of masks.
        threshold: threshold of the masks.
        offset: offset of the two thresholds.
    """
    inner = (logits > threshold + offset).flatten(-2).sum(-1)
    outer = (logits > threshold - offset).flatten(-2).sum(-1)
    return inner / outer.clamp(min=1)
