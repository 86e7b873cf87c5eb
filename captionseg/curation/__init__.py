"""Curation: which concepts an image shows besides those that its caption names. One rule a file."""

from __future__ import annotations

from dataclasses import dataclass, field

from captionseg.curation.caption_retrieval import CaptionRetrieval
from captionseg.curation.captions import Captions
from captionseg.curation.cocu import CoCu
from captionseg.curation.cocu_calibrated import CoCuCalibrated
from captionseg.curation.entities import Entities
from captionseg.curation.nouns import Nouns
from captionseg.curation.rule import Rule
from captionseg.text.vocabulary import VocabularyParams

RULES = {"captions": Captions, "nouns": Nouns, "entities": Entities, "caption_retrieval": CaptionRetrieval,
         "cocu": CoCu, "cocu_calibrated": CoCuCalibrated}  # fmt: skip

__all__ = ["RULES", "CaptionRetrieval", "Captions", "CoCu", "CoCuCalibrated", "CurateParams", "Entities", "Nouns",
           "Rule"]


@dataclass(frozen=True)
class CurateParams:
    """Section `curate` of params.yaml.

    Attributes:
        rules: which members of RULES to run; each writes its own supervision.
        prompts: template set of captionseg.text.prompts that makes t_m of a concept.
        sampled: L, concepts drawn an image when measuring what is sampled.
        vocabulary: which concepts there are.
    """

    rules: list[str]
    prompts: str = "simple"
    sampled: int = 3
    vocabulary: VocabularyParams = field(default_factory=VocabularyParams)
    captions: Captions = field(default_factory=Captions)
    nouns: Nouns = field(default_factory=Nouns)
    entities: Entities = field(default_factory=Entities)
    caption_retrieval: CaptionRetrieval = field(default_factory=CaptionRetrieval)
    cocu: CoCu = field(default_factory=CoCu)
    cocu_calibrated: CoCuCalibrated = field(default_factory=CoCuCalibrated)

    def __post_init__(self) -> None:
        for name in self.rules:
            if name not in RULES:
                raise ValueError(f"rules: unknown rule {name!r} (valid: {', '.join(RULES)})")

    def chosen(self) -> dict[str, Rule]:
        """The rules to run, by name."""
        return {name: getattr(self, name) for name in self.rules}
