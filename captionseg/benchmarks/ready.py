"""A saved model made ready for a benchmark: protocol, prompts, background, and what of a picture it
reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from captionseg.benchmarks.layout import BACKGROUND
from captionseg.encoders import Encoder
from captionseg.inference.detections import Detections, detected
from captionseg.inference.predictor import region_maker
from captionseg.inference.protocols import PROTOCOLS, applied
from captionseg.inference.segment_index import SegmentModel
from captionseg.inference.windows import Protocol, Settled, label, mask_logits
from captionseg.inference.words import LEARNT, class_vectors, prompt_name, text_encoder
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.modeling.segmenter import InputSpec
from captionseg.modeling.weights import saved
from captionseg.records import Inputs, UserError
from captionseg.runtime.device import detect
from captionseg.segmenters import MaskMaker, MasksParams, RegionMaker
from captionseg.text.prompts import TCL, class_embeddings
from captionseg.typed import replaced

Policy = Literal["none", "threshold", "constant", "word"]

SUBSET = "subset"
SETS = {SUBSET: TCL[:7]}
"""Template sets for classification beside those of captionseg.text.prompts: CLIP's seven, as
GroupViT has them.
"""


@dataclass(frozen=True)
class Asked:
    """How models are to be scored.

    Attributes:
        protocol: how pictures are labelled; its `name` is of PROTOCOLS or empty. Windows are taken
            as they are.
        prompts: template set of the classes' names; empty takes the benchmark's, the protocol's, or
            the one saved with each model, whichever there is first.
        background: score of the background; None takes the protocol's, or the model's own.
        threshold: of the background that was published for this benchmark, for the scores of the
            protocol `groupvit`.
        device: auto, cpu, cuda or cuda:N.
        bootstrap: data sets drawn for intervals.
        most: detections of a picture and a class, where masks of things are scored.
        seed: of the bootstrap.
    """

    protocol: Protocol = field(default_factory=Protocol)
    prompts: str = ""
    background: float | None = None
    threshold: float | None = None
    device: str = "auto"
    bootstrap: int = 1000
    most: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Background:
    """How pixels become background.

    Attributes:
        policy: none where it is no class; threshold of a model that knows one; constant, a class
            more with the same logit everywhere, for any other model; word, the class named
            background like any other.
        score: of the two in between.
    """

    policy: Policy = "none"
    score: float | None = None

    @property
    def prompted(self) -> bool:
        """Whether the first class of a benchmark is prompted like the others."""
        return self.policy in ("none", "word")


class Ready(NamedTuple):
    """A model that only needs pictures.

    Attributes:
        model: a Segmenter, on its device.
        classes: [C, D] embeddings of the classes that are prompted.
        settled: how a picture is labelled.
        background: see Background.
        frozen: gives the frozen encoder, where the model needs one.
        maker: of regions; None where nobody makes any.
        device: that the model runs on.
        said: the protocol in words and numbers: prompts and refine, and where there are any
            background, windows, masks, and of a paper's name, source and what of it the model
            cannot do (skipped).
        folder: that holds the model.
    """

    model: Any
    classes: torch.Tensor
    settled: Settled
    background: Background
    frozen: Callable[[], Encoder]
    maker: RegionMaker | None
    device: str
    said: dict[str, Any]
    folder: Path = Path()

    @property
    def reads(self) -> InputSpec:
        """Of the model."""
        return self.model.config.reads

    @property
    def refine(self) -> str:
        """How mask logits are refined."""
        return self.settled.refine.method

    @property
    def segments(self) -> MasksParams | None:
        """What is given classes; None for a model that reads no segments."""
        return self.settled.masks if hasattr(self.model, "mask_scores") else None

    @property
    def masks(self) -> MaskMaker | None:
        """Makes the segments, where they are not the regions."""
        return self.segments.build() if self.segments else None

    @property
    def embeds(self) -> SegmentModel | None:
        """The model as what embeds segments and texts; None for one that reads no segments."""
        return (
            SegmentModel(self.model, self.folder, self.frozen, self.device)
            if self.segments
            else None
        )

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Labels [H, W] of one picture; where the background is not prompted its label is 0, and
        the prompted classes count from 1."""
        with torch.inference_mode():
            if self.background.policy == "constant" and self.background.score is not None:
                best, found = mask_logits(
                    self.model, self._moved(inputs), self.classes, self.settled
                ).max(0)
                found = found.masked_fill(best < self.background.score, -1)
            else:
                found = label(self.model, self._moved(inputs), self.classes, self.settled)
        return found.cpu().numpy() + (0 if self.background.prompted else 1)

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Mask logits [C or more, H, W] float32 of one picture; the prompted classes are the last
        C.
        """
        with torch.inference_mode():
            return (
                mask_logits(self.model, self._moved(inputs), self.classes, self.settled)
                .float()
                .cpu()
                .numpy()
            )

    def detect(self, inputs: Inputs, wanted: np.ndarray) -> Detections:
        """What is found of the wanted classes, bool [C], in one picture, by a model that reads
        segments.
        """
        with torch.inference_mode():
            return detected(
                self.model,
                self._moved(inputs),
                self.classes,
                torch.from_numpy(wanted).to(self.device),
            )

    def _moved(self, inputs: Inputs) -> Inputs:
        return inputs.map(lambda tensor: tensor.to(self.device))


def ready(
    folder: Path,
    frozen: Callable[[], Encoder],
    names: Sequence[str],
    asked: Asked,
    *,
    default: str = "",
    regions: bool = True,
) -> Ready:
    """The model of a folder.

    Args:
        folder: that holds it.
        frozen: gives the frozen encoder that it was trained on; not called where nobody needs it.
        names: [C] of the classes; the first may be the background.
        asked: how it is to be scored.
        default: template set of the benchmark, where `asked` names none; empty takes the
            protocol's, or the one saved with the model.
        regions: whether they are to be made of pictures; not where an earlier stage left them.

    Raises:
        UserError: for a folder without a model.
    """
    device, found = detect(asked.device).device, saved.load(folder)
    model, context = found.model.to(device), found.context
    try:
        settled, prompts = (
            asked.protocol.of(context),
            asked.prompts or default or context["prompts"],
        )
        if not hasattr(model, "mask_scores"):
            settled = replace(settled, masks=MasksParams())
        reads = model.config.reads
        seen = (
            reads.labels and settled.masks.maker == "regions"
        ) or settled.refine.method == "segments"
        maker = region_maker(context["regions"]) if seen and regions else None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: not a model of this version of captionseg: config.json, context: {error}"
        ) from None
    said, score = {}, asked.background
    wanted = bool(names) and names[0] == BACKGROUND
    if asked.protocol.name:
        its, skipped = applied(model, asked.protocol.name, prompts, background=wanted)
        prompts = asked.prompts or default or its
        if wanted and score is None:
            score, missing = published_background(model, asked)
            if missing and getattr(model.config, "zero_shot", None) is not None:
                model.config = replaced(model.config, {"zero_shot": {"background": None}}, "config")
            skipped += missing
        said = {
            "name": asked.protocol.name,
            "source": PROTOCOLS[asked.protocol.name].source,
            "skipped": skipped,
        }
    background = settle(model, wanted, score)
    classes = vectors(model, folder, frozen, names if background.prompted else names[1:], prompts)
    parts = {
        "background": asdict(background) if wanted else None,
        "windows": asdict(settled.windows) if reads.windows else None,
        "masks": settled.masks.maker if reads.segments else None,
    }
    said = {
        "prompts": prompt_name(model, prompts),
        "refine": settled.refine.method,
        **{key: value for key, value in parts.items() if value is not None},
        **said,
    }
    return Ready(model, classes, settled, background, frozen, maker, device, said, folder)


def published_background(model: Any, asked: Asked) -> tuple[float | None, list[str]]:
    """What a protocol has for the background, and a line where it is meant for other scores than
    those of a model.
    """
    preset = PROTOCOLS[asked.protocol.name]
    score = (asked.threshold if preset.groups else None) or preset.background
    if score is None:
        return None, []
    choices = getattr(model.config, "zero_shot", None)
    if isinstance(choices, ZeroShot) if preset.groups else choices is not None:
        return score, []
    return None, [
        f"background {score:g}: its scores are of another kind; the word is a class instead"
    ]


def settle(model: Any, wanted: bool, score: float | None) -> Background:
    """The policy for a model, whose own threshold is set, or unset where the background is no
    class.

    Args:
        model: a Segmenter.
        wanted: whether the benchmark has a background class.
        score: that was asked for; None takes the model's, if it has one.

    Raises:
        UserError: for a score where there is no background.
    """
    choices = getattr(model.config, "zero_shot", None)
    if not wanted:
        if score is not None:
            raise UserError("--background: this benchmark has no background class; leave it out")
        if choices is not None:
            model.config = replaced(model.config, {"zero_shot": {"background": None}}, "config")
        return Background()
    if choices is None:
        return Background("word") if score is None else Background("constant", score)
    score = choices.background if score is None else score
    if score is None:
        return Background("word")
    model.config = replaced(model.config, {"zero_shot": {"background": score}}, "config")
    return Background("threshold", score)


def vectors(
    model: Any, folder: Path, frozen: Callable[[], Encoder], names: Sequence[str], prompts: str
) -> torch.Tensor:
    """[C, D] of names in the templates of SETS too; see `class_vectors`."""
    if prompts not in SETS or prompt_name(model, prompts) == LEARNT:
        return class_vectors(model, folder, frozen, names, prompts)
    found = class_embeddings(names, text_encoder(model, folder, frozen), SETS[prompts])
    return torch.from_numpy(found).to(next(iter([*model.parameters(), *model.buffers()])).device)
