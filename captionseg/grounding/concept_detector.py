"""SAM 3 (Carion et al., arXiv 2511.16719) of transformers, prompted with short texts.

A prompt is looked for by itself: the model answers with boxes, masks and scores of its instances,
with the probability that there are any (presence), and with one map of all of them (semantic).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from captionseg.records import UserError
from captionseg.runtime.transformers_folder import TransformersFolder

FAMILY = ("sam3", "sam3_video")
"""The released folder holds the tracker of videos, too, which is not loaded."""
CONTEXT = 32
"""Number of tokens that SAM 3's text encoder reads."""


class Concepts(NamedTuple):
    """What SAM 3 says of T prompts in one picture; Q queries each, on its grid h x w.

    Attributes:
        boxes: x0 y0 x1 y1 as shares of the picture's sides; they may reach out of it.
        score: score of an instance times the presence of its prompt, in 0..1.
        masks: mask logits.
        presence: probability that there is any instance.
        semantic: logits of the map of all instances.
    """

    boxes: Float[Tensor, "T Q 4"]
    score: Float[Tensor, "T Q"]
    masks: Float[Tensor, "T Q h w"]
    presence: Float[Tensor, "T 1"]
    semantic: Float[Tensor, "T h w"]


@dataclass(frozen=True)
class ConceptDetector:
    """A SAM 3 with its processor.

    Attributes:
        model: a `Sam3Model` of transformers, in evaluation mode.
        tokenizer: its tokenizer.
        processor: its image processor.
    """

    model: Any
    tokenizer: Any
    processor: Any

    @staticmethod
    def load(folder: Path, where: str) -> ConceptDetector:
        """Load it from a local folder, on the CPU.

        Args:
            folder: the folder, of a SAM 3 or of its video model.
            where: dotted path of the folder in params.yaml, for messages.

        Raises:
            UserError: if the folder is missing, has another model, incomplete weights or another
                tokenizer.
        """
        from transformers import AutoTokenizer, Sam3ImageProcessor, Sam3Model

        parts = TransformersFolder(folder, FAMILY, "SAM 3", where)
        model = parts.load_model(Sam3Model)
        tokenizer, processor = parts.load(AutoTokenizer), parts.load(Sam3ImageProcessor)
        known = model.config.text_config.vocab_size
        if len(tokenizer) > known:
            raise UserError(
                f"{where}: {folder}: its tokenizer has {len(tokenizer)} tokens, the text encoder "
                f"knows {known}; take the checkpoint's own"
            )
        return ConceptDetector(model.requires_grad_(False), tokenizer, processor)

    @property
    def width(self) -> int:
        """W, number of features of a token."""
        return self.model.config.detr_encoder_config.hidden_size

    def tokenise(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, int]:
        """Tokenise T texts: ids and mask, int64 [T, CONTEXT]; and the number of texts that were
        cut.
        """
        rows = self.tokenizer(
            list(texts),
            padding="max_length",
            padding_side="right",
            truncation=True,
            max_length=CONTEXT,
            return_tensors="pt",
        )
        cut = sum(bool(encoding.overflowing) for encoding in rows.encodings)
        return rows["input_ids"], rows["attention_mask"], cut

    def embed_texts(
        self, ids: Int64[Tensor, "T n"], mask: Int64[Tensor, "T n"] | Bool[Tensor, "T n"]
    ) -> Float[Tensor, "T n W"]:
        """Embed the tokens of texts; features of padding are 0."""
        features = self.model.get_text_features(input_ids=ids, attention_mask=mask.long())
        return features.pooler_output * mask[..., None]

    def embed_image(self, image: np.ndarray) -> Any:
        """Embed a picture, uint8 [H, W, 3]: features for `detect`."""
        # the format is said, since a picture of one row of pixels could be taken for another one
        pixels = self.processor(
            images=[image], return_tensors="pt", input_data_format="channels_last"
        )
        return self.model.get_vision_features(pixels["pixel_values"].to(self.model.device))

    def detect(self, vision: Any, texts: Float[Tensor, "T n W"]) -> Concepts:
        """Look for T prompts in one picture.

        Args:
            vision: result of `embed_image`.
            texts: result of `embed_texts`.
        """
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        out = self.model(
            vision_embeds=repeat(vision, len(texts)),
            text_embeds=BaseModelOutputWithPooling(pooler_output=texts),
            attention_mask=texts.any(-1),
        )
        presence = out.presence_logits.float().sigmoid()
        return Concepts(
            out.pred_boxes.float(),
            out.pred_logits.float().sigmoid() * presence,
            out.pred_masks.float(),
            presence,
            out.semantic_seg[:, 0].float(),
        )

    def detect_in_batches(
        self, vision: Any, texts: Float[Tensor, "T n W"], batch: int
    ) -> Iterator[Concepts]:
        """Yield the results of `detect` for `batch` prompts at a time."""
        for part in texts.split(batch):
            yield self.detect(vision, part)


def repeat(vision: Any, count: int) -> Any:
    """Return the features of a picture as those of `count` equal pictures, without copies."""
    maps = {
        name: tuple(one.expand(count, *one.shape[1:]) for one in vision[name])
        for name in ("fpn_hidden_states", "fpn_position_encoding")
    }
    return type(vision)(**maps)
