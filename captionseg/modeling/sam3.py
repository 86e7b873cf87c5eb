"""SAM 3 (Carion et al., arXiv 2511.16719) as a model that trains nothing: the name of each class is
a concept prompt.

The score of a class at a pixel is the greatest over its instances: the presence of the class, times
the score of the instance, times the probability of the pixel. So scores of classes can be compared
with each other, and with one threshold for the background. The weights stay in their folder, as
those of frozen towers do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.grids import MEAN, STD
from captionseg.grounding.concept_detector import CONTEXT, ConceptDetector, Concepts
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.segmenter import Gather, InputSpec, Sizes, Start, gather_single
from captionseg.records import UserError
from captionseg.typed import Count, Share

WHERE = "sam3.weights"


@dataclass(frozen=True)
class ConceptChoices:
    """Options of inference.

    Attributes:
        background: score below which a pixel is background; None means no background. SAM 3's own
            threshold of instances is 0.5.
    """

    background: Share | None = 0.5


@dataclass(frozen=True)
class Sam3Config:
    """Configuration of SAM 3.

    Attributes:
        weights: local folder of a SAM 3 of transformers, such as facebook/sam3. It is read whenever
            the model is used, and not saved with it.
        picture: side in pixels of the squares that pictures of the tune split become; SAM 3 itself
            resizes every picture to a square of this side.
        readout: instances, as above; semantic takes SAM 3's map of all instances times the presence
            of the class; both takes the greater of the two.
        batch: number of classes at once; it only affects memory and speed.
        zero_shot: options of inference.
        needs_weights: whether `weights` must be given.
    """

    weights: str = ""
    picture: Count = 1008
    readout: Literal["instances", "semantic", "both"] = "instances"
    batch: Count = 4
    zero_shot: ConceptChoices = field(default_factory=ConceptChoices)
    needs_weights: ClassVar[bool] = True

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return InputSpec(
            picture=self.picture,
            whole=True,
            tokens="checkpoint",
            tokenizer=self.weights,
            bare=True,
            context=CONTEXT,
        )

    def with_sizes(self, sizes: Sizes) -> Sam3Config:
        """Return the config, because nothing depends on the data."""
        return self


class Sam3(nn.Module):
    """The SAM 3 model; see the module's docstring.

    Class embeddings are the features of the tokens of a prompt, one after the other, and a 1, by
    which they are scaled back after they were normalised. Features of padding are 0.
    """

    fingerprint: Tensor

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("fingerprint", torch.zeros(32, dtype=torch.uint8))
        self.loaded: ConceptDetector | None = None

    @property
    def zero_shot(self) -> ConceptChoices:
        """See HasZeroShotChoices."""
        return self.config.zero_shot

    def load(self) -> ConceptDetector:
        """Return the frozen model, on the device of this one; it is read on first use.

        Raises:
            UserError: if it cannot be loaded, or has other weights than when the model was made.
        """
        if self.loaded is None:
            detector = ConceptDetector.load(Path(self.config.weights).expanduser(), WHERE)
            found = take_fingerprint(detector.model).to(self.fingerprint.device)
            if self.fingerprint.any() and not torch.equal(self.fingerprint, found):
                raise UserError(
                    f"{self.config.weights}: has other weights than when this model was made; put "
                    "the earlier ones back, or run `dvc repro`"
                )
            self.fingerprint.copy_(found)
            self.loaded = detector
        if self.loaded.model.device != self.fingerprint.device:
            self.loaded.model.to(self.fingerprint.device)
        return self.loaded

    def start(self, data: Start) -> None:
        """Load the weights; nothing is taken from the data.

        Raises:
            UserError: for weights that are missing or do not fit.
        """
        self.load()

    def forward(self, batch: Batch) -> None:
        """Do nothing, because nothing is trained."""

    def losses(
        self, outputs: None, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return no losses, because nothing is trained."""
        return {}

    def encode_text(self, tokens: Int64[Tensor, "text token"]) -> Float[Tensor, "text embedding"]:
        """See EncodesTokens, and the class."""
        place = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        length = (place * (tokens != 0)).amax(1, keepdim=True)  # 0 may be a word's token, too
        features = self.load().embed_texts(tokens, place <= length)
        flat = F.pad(features, (0, 0, 0, CONTEXT - tokens.shape[1])).flatten(1)
        return torch.cat([flat, torch.ones_like(flat[:, :1])], 1)

    def segment(
        self,
        inputs: Inputs,
        class_embeddings: Float[Tensor, "class embedding"],
        choices: ConceptChoices | None = None,
    ) -> Float[Tensor, "batch _class {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: scores in 0..1; the background, if any, has its threshold everywhere."""
        assert inputs.image is not None
        limit, rows = (choices or self.zero_shot).background, []
        for image in inputs.image:
            scores = [*self.score_classes(image, inputs.size, class_embeddings)]
            if limit is not None:
                scores.insert(0, torch.full_like(scores[0][:1], limit))
            rows.append(torch.cat(scores))
        return torch.stack(rows)

    def label(
        self,
        inputs: Inputs,
        class_embeddings: Float[Tensor, "class embedding"],
        choices: ConceptChoices | None = None,
    ) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter; the scores of a few classes at a time are stored."""
        assert inputs.image is not None
        limit = (choices or self.zero_shot).background
        labels = []
        for image in inputs.image:
            best = torch.full(inputs.size, -1.0 if limit is None else limit, device=image.device)
            number, first = torch.full_like(best, -1, dtype=torch.long), 0
            for scores in self.score_classes(image, inputs.size, class_embeddings):
                most, at = scores.max(0)
                better = most > best
                best, number = (
                    torch.where(better, most, best),
                    torch.where(better, at + first, number),
                )
                first += len(scores)
            labels.append(number)
        return torch.stack(labels)

    def image_logits(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class"]:
        """See EmbedsImages: the presence of each class, in 0..1."""
        assert inputs.image is not None
        rows = [
            torch.cat([found.presence[:, 0] for found in self.detect(image, class_embeddings)])
            for image in inputs.image
        ]
        return torch.stack(rows)

    def score_classes(
        self,
        image: Float[Tensor, "3 height width"],
        size: tuple[int, int],
        class_embeddings: Float[Tensor, "class embedding"],
    ) -> Iterator[Float[Tensor, "part {size[0]} {size[1]}"]]:
        """Yield the scores of pixels for a few classes at a time.

        Args:
            image: one picture, normalised.
            size: (height, width) of the scores.
            class_embeddings: see the class.
        """
        for found in self.detect(image, class_embeddings):
            maps = combine(found, self.config.readout)
            yield F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]

    def detect(
        self,
        image: Float[Tensor, "3 height width"],
        class_embeddings: Float[Tensor, "class embedding"],
    ) -> Iterator[Concepts]:
        """Yield what SAM 3 says of a few classes at a time; arguments as of `score_classes`."""
        detector = self.load()
        scale = class_embeddings[:, -1:].float()
        texts = (class_embeddings[:, :-1].float() / scale).unflatten(1, (-1, detector.width))
        vision = detector.embed_image(restore_pixels(image))
        yield from detector.detect_in_batches(vision, texts, self.config.batch)


def combine(concepts: Concepts, readout: str) -> Float[Tensor, "T h w"]:
    """Return one map of scores in 0..1 for each of T prompts; `readout` as in Sam3Config."""
    maps = []
    if readout != "semantic":
        maps.append((concepts.score[..., None, None] * concepts.masks.sigmoid()).amax(1))
    if readout != "instances":
        maps.append(concepts.presence[..., None] * concepts.semantic.sigmoid())
    return torch.stack(maps).amax(0)


def restore_pixels(image: Float[Tensor, "3 height width"]) -> np.ndarray:
    """Return the picture uint8 [H, W, 3] of pixels that were normalised by ImageNet's mean and
    deviation.
    """
    mean, deviation = (image.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    pixels = ((image * deviation + mean) * 255).round().clamp(0, 255)
    return pixels.permute(1, 2, 0).byte().cpu().numpy()


def take_fingerprint(module: nn.Module) -> Tensor:
    """Return 32 bytes that differ for other weights: the hash of each tensor's first values."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{list(tensor.shape)}".encode())
        digest.update(tensor.flatten()[:64].float().cpu().numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)
