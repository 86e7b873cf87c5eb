"""Curation rules by name, and section `curate` of params.yaml, which chooses among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import MinLen

from captionseg.constraints import Distinct
from captionseg.curation.caption_retrieval import CaptionRetrieval
from captionseg.curation.captions import Captions
from captionseg.curation.cocu import CoCu
from captionseg.curation.cocu_calibrated import CalibratedCoCu
from captionseg.curation.entities import Entities
from captionseg.curation.nouns import Nouns
from captionseg.curation.rule import Rule
from captionseg.marking.markers import MarksParams
from captionseg.records import DROPPED
from captionseg.text.prompts import PromptSet
from captionseg.text.vocabulary import VocabularyParams
from captionseg.typed import NAME, Count, Name, replace_fields

RULES = {
    "captions": Captions,
    "nouns": Nouns,
    "entities": Entities,
    "caption_retrieval": CaptionRetrieval,
    "cocu": CoCu,
    "cocu_calibrated": CalibratedCoCu,
}

TAKEN = ("vocabulary", "marks", DROPPED)
"""Names that no variant may have."""


@dataclass(frozen=True)
class CurateParams:
    """Section `curate` of params.yaml.

    Attributes:
        rules: which members of RULES or of `variants` to run; each writes its own supervision.
        variants: name -> {rule: a member of RULES, FIELD: value, ...}: that rule under another
            name, with other values of some of its fields; the rest is as in the rule's own section.
        prompts: template set of captionseg.text.prompts that makes t_m of a concept.
        sampled: L, concepts drawn an image when measuring what is sampled.
        vocabulary: which concepts there are.
        marks: which pairs no rule keeps, whatever their concepts.
    """

    rules: Annotated[list[Name], MinLen(1), Distinct()]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    prompts: PromptSet = "simple"
    sampled: Count = 3
    vocabulary: VocabularyParams = field(default_factory=VocabularyParams)
    marks: MarksParams = field(default_factory=MarksParams)
    captions: Captions = field(default_factory=Captions)
    nouns: Nouns = field(default_factory=Nouns)
    entities: Entities = field(default_factory=Entities)
    caption_retrieval: CaptionRetrieval = field(default_factory=CaptionRetrieval)
    cocu: CoCu = field(default_factory=CoCu)
    cocu_calibrated: CalibratedCoCu = field(default_factory=CalibratedCoCu)

    def __post_init__(self) -> None:
        valid = self._all()
        for name in self.rules:
            if name not in valid:
                raise ValueError(f"rules: unknown rule {name!r} (valid: {', '.join(valid)})")

    def _all(self) -> dict[str, Rule]:
        """Every rule and every variant, by name."""
        return {name: getattr(self, name) for name in RULES} | {
            name: self._build_variant(name, given) for name, given in self.variants.items()
        }

    def _build_variant(self, name: str, fields: Mapping[str, Any]) -> Rule:
        """The rule of one variant; its name is a folder beside those of the rules, of the
        vocabulary and of the marks, and stands in curation.json beside the key DROPPED.
        """
        section = f"variants.{name}"
        if name.casefold() in {*RULES, *TAKEN} or not re.fullmatch(NAME.pattern, name):
            raise ValueError(
                f"{section}: not a name for a variant (valid: {NAME.words}); no rule's and not "
                f"{', '.join(map(repr, TAKEN))}"
            )
        if (base := fields.get("rule")) not in RULES:
            raise ValueError(f"{section}.rule: unknown rule {base!r} (valid: {', '.join(RULES)})")
        changes = {key: value for key, value in fields.items() if key != "rule"}
        if not changes:
            raise ValueError(f"{section}: changes no field of {base}")
        return replace_fields(getattr(self, base), changes, f"curate.{section}")

    def list_rules(self) -> dict[str, Rule]:
        """The rules to run, by name."""
        available = self._all()
        return {name: available[name] for name in self.rules}
