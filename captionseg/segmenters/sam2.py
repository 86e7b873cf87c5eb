"""Masks for boxes by SAM 2 (Ravi et al., arXiv 2408.00714) of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from captionseg.segmenters.interfaces import BoxSegmenter
from captionseg.typed import Count, Device, Natural, Share, ZeroOrMore


@dataclass(frozen=True)
class Sam2:
    """Parameters of a SAM 2 that is prompted with boxes.

    Attributes:
        checkpoint: local folder of a SAM 2 or SAM 2.1 of transformers (config.json,
            model.safetensors, preprocessor_config.json or processor_config.json), such as
            facebook/sam2.1-hiera-large; nothing is downloaded.
        device: auto, cpu, cuda or cuda:N.
        multimask: as in Sam.
        min_iou: as in Sam.
        offset: as in Sam.
        small_area: as in Sam.
        batch: number of boxes at once.
    """

    checkpoint: str = ""
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
        from captionseg.segmenters.prompted_sam import PromptedSam, PromptedSegmenter

        model = PromptedSam.load_sam2(Path(self.checkpoint), "segment_text.sam2.checkpoint")
        return PromptedSegmenter(
            model.to(detect(self.device).device), self, multimask=self.multimask, batch=self.batch
        )
