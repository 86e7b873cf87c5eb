"""Masks for boxes by SAM-HQ (Ke et al., NeurIPS 2023) of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from captionseg.segmenters.interfaces import BoxSegmenter
from captionseg.typed import Count, Device, Natural, Share, ZeroOrMore


@dataclass(frozen=True)
class SamHq:
    """Parameters of a SAM-HQ that is prompted with boxes.

    Attributes:
        checkpoint: local folder of a SAM-HQ of transformers (config.json, model.safetensors,
            preprocessor_config.json or processor_config.json), such as
            syscv-community/sam-hq-vit-large; nothing is downloaded.
        device: auto, cpu, cuda or cuda:N.
        multimask: as in Sam; SAM-HQ's authors use one mask for boxes.
        min_iou: as in Sam.
        offset: as in Sam.
        small_area: as in Sam.
        batch: number of boxes at once.
    """

    checkpoint: str = ""
    device: Device = "auto"
    multimask: bool = False
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

        model = PromptedSam.load_sam_hq(Path(self.checkpoint), "segment_text.sam_hq.checkpoint")
        return PromptedSegmenter(
            model.to(detect(self.device).device), self, multimask=self.multimask, batch=self.batch
        )
