"""Boxes and masks of phrases by SAM 3 (Carion et al., arXiv 2511.16719).

Each phrase is a concept prompt of its own. What a phrase stands for in its caption is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from captionseg.grounding.grounder import Boxes, Query, group_equal, join_boxes, spread_equal
from captionseg.typed import Count, Device, Share, ShareBelowOne, ZeroOrMore

if TYPE_CHECKING:
    from captionseg.grounding.concept_detector import ConceptDetector, Concepts

WHERE = "segment_text.sam3.checkpoint"


@dataclass(frozen=True)
class Sam3:
    """Parameters of `Sam3Grounder`.

    Attributes:
        checkpoint: local folder of a SAM 3 of transformers (config.json, model.safetensors,
            tokenizer, preprocessor_config.json or processor_config.json), such as facebook/sam3;
            nothing is downloaded.
        threshold: instances whose score is not above it are dropped: its own score times the
            presence of the phrase (0.5 in the released code, 0.3 in transformers).
        mask_threshold: minimum probability of a pixel of a mask.
        offset: offset of the logit thresholds for the stability of a mask, which is the IoU of the
            masks at both.
        batch: number of phrases at once.
        device: auto, cpu, cuda or cuda:N.
        reads_dense: whether the grounder reads dense features.
        makes_masks: whether it makes masks itself, so that no segmenter is needed.
    """

    checkpoint: str = ""
    threshold: Share = 0.5
    mask_threshold: ShareBelowOne = 0.5
    offset: ZeroOrMore = 1.0
    batch: Count = 8
    device: Device = "auto"
    reads_dense: ClassVar[bool] = False
    makes_masks: ClassVar[bool] = True

    def build(self, space: object = None, cells: np.ndarray | None = None) -> Sam3Grounder:
        """Load the grounder on the device; it needs nothing of the corpus.

        Raises:
            UserError: if the checkpoint is missing or invalid.
        """
        from captionseg.grounding.concept_detector import ConceptDetector
        from captionseg.runtime.device import detect

        detector = ConceptDetector.load(Path(self.checkpoint), WHERE)
        detector.model.to(detect(self.device).device)
        return Sam3Grounder(detector, self)


class Sam3Grounder:
    """Finds boxes and masks with a SAM 3. See Grounder, and the module's docstring.

    Args:
        detector: the model.
        params: its parameters.
    """

    def __init__(self, detector: ConceptDetector, params: Sam3) -> None:
        self.detector, self.params = detector, params
        self.seen: tuple[np.ndarray, Any] | None = None

    def prepare(self, phrases: Sequence[str]) -> None:
        """See Grounder. Does nothing: the text encoder takes little of the time of a picture, and
        32 vectors of each phrase are too many to keep.
        """

    def boxes(
        self,
        image: np.ndarray,
        phrases: Sequence[str],
        *,
        dense: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        query: Query | None = None,
    ) -> Boxes:
        """See Grounder. The query is not used; equal phrases are looked for once."""
        numbers = group_equal(phrases)
        found, cut = self.find(image, list(numbers))
        parts = spread_equal(found, numbers.values())
        none = replace(join_boxes([]), masks=np.zeros((0, *image.shape[:2]), bool))
        return replace(join_boxes([none, *parts]), cut=int(cut > 0))

    def find(self, image: np.ndarray, texts: Sequence[str]) -> tuple[list[Boxes], int]:
        """Find the instances of T different texts.

        Args:
            image: uint8 [H, W, 3].
            texts: the texts.

        Returns:
            those of each text, of phrase 0; and the number of texts that were cut.
        """
        import torch

        if not texts:
            return [], 0
        ids, mask, cut = self.detector.tokenise(texts)
        device = self.detector.model.device
        with torch.inference_mode():
            features = self.detector.embed_texts(ids.to(device), mask.to(device))
            found = [
                self.select(concepts, row, image)
                for concepts in self.detector.detect_in_batches(
                    self.embed(image), features, self.params.batch
                )
                for row in range(len(concepts.score))
            ]
        return found, cut

    def embed(self, image: np.ndarray) -> Any:
        """Embed a picture, once for all of its captions in a row."""
        if self.seen is None or self.seen[0] is not image:
            self.seen = image, self.detector.embed_image(image)
        return self.seen[1]

    def select(self, concepts: Concepts, row: int, image: np.ndarray) -> Boxes:
        """Select the instances of one text above the threshold, best first.

        Args:
            concepts: results of several texts.
            row: number of the text.
            image: the picture [H, W, 3].
        """
        import torch
        from torch.nn import functional as F

        params, size = self.params, image.shape[:2]
        score = concepts.score[row]
        keep = torch.nonzero(score > params.threshold)[:, 0]
        keep = keep[score[keep].argsort(descending=True, stable=True)]
        probability = F.interpolate(
            concepts.masks[row, keep, None].sigmoid(), size, mode="bilinear", align_corners=False
        )[:, 0]
        inner, outer = (
            float(torch.tensor(params.mask_threshold).logit().add(shift).sigmoid())
            for shift in (params.offset, -params.offset)
        )
        area = (probability > outer).sum((1, 2))
        stability = (probability > inner).sum((1, 2)) / area.clamp(min=1)
        sides = torch.tensor([*size[::-1]] * 2, device=score.device)
        return Boxes(
            (concepts.boxes[row, keep].clamp(0, 1) * sides).float().cpu().numpy(),
            np.zeros(len(keep), np.int32),
            score[keep].cpu().numpy(),
            masks=(probability > params.mask_threshold).cpu().numpy(),
            stability=stability.float().cpu().numpy(),
        )
