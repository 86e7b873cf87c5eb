"""Boxes of phrases by OWLv2 (Minderer et al., NeurIPS 2023), phrase by phrase.

Each patch of a picture gives a box and is compared with every phrase. The model sees pictures that
are padded to squares at the right and at the bottom, so its boxes are shares of the longer side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from captionseg.grounding.box_phrases import suppress_within_groups
from captionseg.grounding.grounder import Boxes, Query, group_equal, join_boxes, spread_equal
from captionseg.records import UserError
from captionseg.runtime.transformers_folder import TransformersFolder
from captionseg.typed import Count, Device, Share, Template

WHERE = "segment_text.owlv2.checkpoint"


@dataclass(frozen=True)
class Owlv2:
    """Parameters of `Owlv2Grounder`.

    Attributes:
        checkpoint: local folder of an OWLv2 of transformers (config.json, model.safetensors,
            tokenizer, preprocessor_config.json), such as google/owlv2-base-patch16-ensemble;
            nothing is downloaded.
        threshold: boxes whose score is not above it are dropped (0.1 in transformers).
        names: best gives a box to the phrase of its highest score alone, as transformers does; all
            to every phrase above the threshold, as scores do not depend on other phrases.
        nms_iou: if boxes of a phrase overlap by more than this IoU, the best is kept.
        template: template for phrases.
        batch: number of phrases at once.
        device: auto, cpu, cuda or cuda:N.
        reads_dense: whether the grounder reads dense features.
        makes_masks: whether it makes masks itself, so that no segmenter is needed.
    """

    checkpoint: str = ""
    threshold: Share = 0.1
    names: Literal["best", "all"] = "best"
    nms_iou: Share = 0.7
    template: Template = "{}"
    batch: Count = 256
    device: Device = "auto"
    reads_dense: ClassVar[bool] = False
    makes_masks: ClassVar[bool] = False

    def build(self, space: object = None, cells: np.ndarray | None = None) -> Owlv2Grounder:
        """Load the grounder on the device; it needs nothing of the corpus.

        Raises:
            UserError: if the checkpoint is missing or invalid.
        """
        from transformers import AutoTokenizer, Owlv2ForObjectDetection, Owlv2ImageProcessor

        from captionseg.runtime.device import detect

        parts = TransformersFolder(Path(self.checkpoint), ("owlv2",), "OWLv2", WHERE)
        model = parts.load_model(Owlv2ForObjectDetection)
        tokenizer, processor = parts.load(AutoTokenizer), parts.load(Owlv2ImageProcessor)
        known = model.config.text_config.vocab_size
        if len(tokenizer) > known:
            raise UserError(
                f"{WHERE}: {self.checkpoint}: its tokenizer has {len(tokenizer)} tokens, the text "
                f"encoder knows {known}; take the checkpoint's own"
            )
        return Owlv2Grounder(model.to(detect(self.device).device), tokenizer, processor, self)


class Owlv2Grounder:
    """Finds boxes with an OWLv2. See Grounder, and the module's docstring.

    Args:
        model: an `Owlv2ForObjectDetection` of transformers, in evaluation mode.
        tokenizer: its tokenizer.
        processor: its image processor.
        params: its parameters.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Any, params: Owlv2) -> None:
        self.model, self.tokenizer, self.processor = model, tokenizer, processor
        self.params = params
        self.known: dict[str, int] = {}
        self.embedding = np.zeros((0, model.config.projection_dim), np.float32)
        self.is_cut = np.zeros(0, bool)
        self.seen: tuple[np.ndarray, tuple[Any, np.ndarray]] | None = None

    def prepare(self, phrases: Sequence[str]) -> None:
        """See Grounder. Forgets earlier phrases, so that shards do not depend on each other."""
        import torch

        unique, embeddings, cut = sorted(set(phrases)), [self.embedding[:0]], [self.is_cut[:0]]
        for start in range(0, len(unique), self.params.batch):
            rows = self.tokenizer(
                [self.params.template.format(t) for t in unique[start : start + self.params.batch]],
                padding="max_length",
                padding_side="right",
                truncation=True,
                max_length=self.model.config.text_config.max_position_embeddings,
                return_tensors="pt",
            )
            cut.append(np.array([bool(row.overflowing) for row in rows.encodings]))
            with torch.inference_mode():
                features = self.model.owlv2.get_text_features(**rows.to(self.model.device))
            embeddings.append(features.pooler_output.float().cpu().numpy())
        self.known = {phrase: number for number, phrase in enumerate(unique)}
        self.embedding, self.is_cut = np.concatenate(embeddings), np.concatenate(cut)

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
        if not numbers:
            return join_boxes([])
        if not self.known.keys() >= numbers.keys():
            self.prepare(phrases)
        rows = np.array([self.known[phrase] for phrase in numbers])
        score, corners = self.forward(image, self.embedding[rows])
        found = self.select(score, to_picture(corners, image))
        of_texts = [found.take(np.flatnonzero(found.phrase == n)) for n in range(len(numbers))]
        joined = join_boxes(spread_equal(of_texts, numbers.values()))
        return replace(joined, cut=int(self.is_cut[rows].any()))

    def forward(self, image: np.ndarray, embedding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the model on a picture uint8 [H, W, 3] and the embeddings [T, D] of texts.

        Returns:
            scores [N, T] in 0..1 of the boxes of N patches, and the boxes [N, 4], x0 y0 x1 y1 as
            shares of the square.
        """
        import torch

        with torch.inference_mode():
            patches, corners = self.embed(image)
            texts = torch.from_numpy(embedding).to(patches.device)[None]
            logits = self.model.class_predictor(patches, texts)[0][0]
            return logits.float().sigmoid().cpu().numpy(), corners

    def embed(self, image: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the features of patches [1, N, F] and their boxes, see `forward`; computed once
        for all captions of a picture in a row.
        """
        import torch

        if self.seen is None or self.seen[0] is not image:
            pixels = self.processor(
                images=[image], return_tensors="pt", input_data_format="channels_last"
            )["pixel_values"]
            maps = self.model.image_embedder(pixels.to(self.model.device))[0]
            patches = maps.flatten(1, 2)
            x, y, width, height = self.model.box_predictor(patches, maps)[0].float().unbind(-1)
            corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            self.seen = image, (patches, torch.stack(corners, dim=-1).cpu().numpy())
        return self.seen[1]

    def select(self, score: np.ndarray, boxes: np.ndarray) -> Boxes:
        """Select the boxes of T texts, and suppress duplicates.

        Args:
            score: [N, T] scores.
            boxes: [N, 4] x0 y0 x1 y1 in pixels; those without an area are dropped.
        """
        has_area = np.all(boxes[:, 2:] > boxes[:, :2], axis=1, keepdims=True)
        above = (score > self.params.threshold) & has_area
        if self.params.names == "best":
            above &= np.arange(score.shape[1]) == score.argmax(1)[:, None]
        box, text = np.nonzero(above)
        keep = suppress_within_groups(boxes[box], score[box, text], text, self.params.nms_iou)
        box, text = box[keep], text[keep]
        return Boxes(boxes[box], text.astype(np.int32), score[box, text])


def to_picture(boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Convert boxes [N, 4] from shares of the padded square to pixels, clipped to the picture."""
    height, width = image.shape[:2]
    return np.clip(boxes * max(height, width), 0, [width, height] * 2).astype(np.float32)
