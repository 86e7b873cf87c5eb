"""Boxes by Grounding DINO (Liu et al., ECCV 2024) or MM Grounding DINO (Zhao et al., arXiv
2401.02361), prompted with the whole caption as in USE (section 3.2).

The model scores each box against each token of a text. A box belongs to the phrase that contains
its best word. [CLS], [SEP], "." and "?" have logits too, but are no words. transformers' processor
and post-processing are not used: the processor merges a list of texts into one, and the
post-processing mixes all tokens of a box into its label and suppresses no duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from captionseg.grounding.box_phrases import (
    best_words,
    match_mentions,
    suppress_within_groups,
    to_pixels,
)
from captionseg.grounding.grounder import Boxes, Query, join_boxes
from captionseg.grounding.pieces import Piece, cut_into_pieces, reason_against
from captionseg.records import UserError
from captionseg.runtime.transformers_folder import TransformersFolder
from captionseg.typed import Count, Device, Share

WHERE = "segment_text.grounding_dino.checkpoint"
FAMILY = ("grounding-dino", "mm-grounding-dino")


@dataclass(frozen=True)
class GroundingDino:
    """Parameters of `GroundingDinoGrounder`.

    Attributes:
        checkpoint: local folder of a Grounding DINO of transformers (config.json,
            model.safetensors, tokenizer, preprocessor_config.json), such as
            IDEA-Research/grounding-dino-tiny, or of an MM Grounding DINO; nothing is downloaded.
        prompt: caption reads the whole caption (USE); phrases a text with one sentence for each
            phrase, as detectors are prompted with names of classes.
        threshold: minimum score of a box's best token (USE: 0.05).
        nms_iou: if boxes overlap by more than this IoU, the best is kept (USE: 0.7).
        nms: mention suppresses boxes of the same mention of a phrase; agnostic suppresses boxes of
            the whole text (Kosmos-2), so that an object keeps only one name.
        batch: number of pieces of text, with their pictures, at once.
        device: auto, cpu, cuda or cuda:N.
        reads_dense: whether the grounder reads dense features.
        makes_masks: whether it makes masks itself, so that no segmenter is needed.
    """

    checkpoint: str = ""
    prompt: Literal["caption", "phrases"] = "caption"
    threshold: Share = 0.05
    nms_iou: Share = 0.7
    nms: Literal["mention", "agnostic"] = "mention"
    batch: Count = 4
    device: Device = "auto"
    reads_dense: ClassVar[bool] = False
    makes_masks: ClassVar[bool] = False

    def build(self, space: object = None, cells: np.ndarray | None = None) -> GroundingDinoGrounder:
        """Load the grounder on the device; it needs nothing of the corpus.

        Raises:
            UserError: if the checkpoint is missing or invalid.
        """
        from captionseg.runtime.device import detect

        model, tokenizer, processor = load(Path(self.checkpoint))
        return GroundingDinoGrounder(
            model.to(detect(self.device).device), tokenizer, processor, self
        )


def load(folder: Path) -> tuple[Any, Any, Any]:
    """Load model, tokenizer and image processor from a folder; only safetensors, no custom code.

    Raises:
        UserError: if the folder is missing, has another model, or has incomplete weights.
    """
    from transformers import AutoImageProcessor, AutoModelForZeroShotObjectDetection, AutoTokenizer

    parts = TransformersFolder(folder, FAMILY, "Grounding DINO", WHERE)
    model = parts.load_model(AutoModelForZeroShotObjectDetection)
    tokenizer, processor = parts.load(AutoTokenizer), parts.load(AutoImageProcessor)
    if wrong := reason_against(tokenizer):
        raise UserError(f"{WHERE}: {folder}: {wrong}")
    return model, tokenizer, processor


class GroundingDinoGrounder:
    """Finds boxes with a Grounding DINO. See Grounder, and the module's docstring.

    Args:
        model: a `GroundingDinoForObjectDetection` of transformers, or the same of MM Grounding
            DINO, in evaluation mode.
        tokenizer: its fast tokenizer.
        processor: its image processor.
        params: its parameters.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Any, params: GroundingDino) -> None:
        self.model, self.tokenizer, self.processor, self.params = (
            model,
            tokenizer,
            processor,
            params,
        )

    def prepare(self, phrases: Sequence[str]) -> None:
        """See Grounder. Does nothing, because phrases are read together with their picture."""

    def boxes(
        self,
        image: np.ndarray,
        phrases: Sequence[str],
        *,
        dense: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        query: Query | None = None,
    ) -> Boxes:
        """See Grounder. Phrases that are not in the query are the sentences of a second text.

        Raises:
            ValueError: if the query does not have one entry per phrase.
        """
        if self.params.prompt == "phrases":
            query = None
        spans_of_phrases = query.spans if query else ((),) * len(phrases)
        if len(spans_of_phrases) != len(phrases):
            raise ValueError(
                f"query with spans of {len(spans_of_phrases)} phrases for {len(phrases)}"
            )
        rest = Query.of(
            [
                "" if spans else phrase
                for phrase, spans in zip(phrases, spans_of_phrases, strict=True)
            ]
        )
        queries = [q for q in (query, rest) if q and any(q.spans)]
        return join_boxes(self.ground([image] * len(queries), queries))

    def ground(self, images: Sequence[np.ndarray], queries: Sequence[Query]) -> list[Boxes]:
        """Find boxes for N pictures and their captions.

        Args:
            images: N pictures, uint8 [H, W, 3].
            queries: N captions with the positions of their phrases.

        Returns:
            the boxes of each picture.
        """
        limit = self.model.config.max_text_len
        numbered_pieces = [
            (i, piece)
            for i, query in enumerate(queries)
            for piece in cut_into_pieces(self.tokenizer, query.text, limit)
        ]
        parts_of_queries: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [
            [] for _ in queries
        ]
        for rows in self.batches(numbered_pieces, images):
            logits, boxes = self.forward([images[i] for i, _ in rows], [piece for _, piece in rows])
            for (i, piece), scores, where in zip(rows, logits, boxes, strict=True):
                box, token, score = best_words(scores, piece.words, self.params.threshold)
                parts_of_queries[i].append(
                    (to_pixels(where[box], images[i]), piece.places[token], score)
                )
        return [
            self.assign_phrases(query, parts)
            for query, parts in zip(queries, parts_of_queries, strict=True)
        ]

    def batches(
        self, numbered_pieces: Sequence[tuple[int, Piece]], images: Sequence[np.ndarray]
    ) -> Iterator[list[tuple[int, Piece]]]:
        """Yield batches of (number of the picture, piece of text).

        Pictures of a batch have the same size, because padding would change the features.
        """

        def size(row: tuple[int, Piece]) -> tuple[int, ...]:
            return images[row[0]].shape[:2]

        for _, group in groupby(sorted(numbered_pieces, key=size), key=size):
            rows = list(group)
            for start in range(0, len(rows), self.params.batch):
                yield rows[start : start + self.params.batch]

    def forward(
        self, images: Sequence[np.ndarray], texts: Sequence[Piece]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the model on B pictures, uint8 [H, W, 3], and pieces of text.

        Returns:
            logits [B, Q, T], T is the length of the longest piece; and boxes [B, Q, 4]: centre x,
            y, width, height in 0..1.
        """
        import torch

        device, longest = self.model.device, max(len(piece.ids) for piece in texts)
        ids = np.zeros((len(texts), longest), np.int64)
        for row, piece in zip(ids, texts, strict=True):
            row[: len(piece.ids)] = piece.ids
        attention_mask = torch.from_numpy(
            np.arange(longest) < np.array([[len(piece.ids)] for piece in texts])
        ).long()
        pictures = self.processor(
            images=list(images), return_tensors="pt", input_data_format="channels_last"
        )
        tokens = torch.from_numpy(ids)
        with torch.inference_mode():
            out = self.model(
                **pictures.to(device),
                input_ids=tokens.to(device),
                attention_mask=attention_mask.to(device),
                token_type_ids=torch.zeros_like(tokens).to(device),
            )
        return out.logits[..., :longest].float().cpu().numpy(), out.pred_boxes.float().cpu().numpy()

    def assign_phrases(
        self, query: Query, parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> Boxes:
        """Assign the boxes of a query to its phrases, and suppress duplicates.

        Args:
            query: the caption with the positions of its phrases.
            parts: for each piece the boxes [k, 4] in pixels, the (start, end) characters [k, 2] of
                their best words, and their scores [k].
        """
        empty = (np.zeros((0, 4), np.float32), np.zeros((0, 2), int), np.zeros(0, np.float32))
        boxes, places, score = (
            np.concatenate(column) for column in zip(empty, *parts, strict=True)
        )
        phrase, mention = match_mentions(places, query.spans)
        matched = phrase >= 0
        boxes, phrase, mention, score = (
            boxes[matched],
            phrase[matched],
            mention[matched],
            score[matched],
        )
        group = mention if self.params.nms == "mention" else np.zeros_like(mention)
        keep = suppress_within_groups(boxes, score, group, self.params.nms_iou)
        return join_boxes(
            [
                Boxes(
                    boxes[keep],
                    phrase[keep],
                    score[keep],
                    int((~matched).sum()),
                    int(len(parts) > 1),
                )
            ]
        )
