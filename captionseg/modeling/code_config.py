"""The configuration of CoDe (Wu et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from captionseg.modeling.layers.tcl_grounder import GrounderConfig
from captionseg.modeling.segmenter import InputSpec, Sizes
from captionseg.modeling.tcl_config import GroundingChoices, TclConfig
from captionseg.modeling.towers.word_segments import WordConfig
from captionseg.typed import AboveZero, Count, ZeroOrMore


def _segmenter() -> TclConfig:
    """Return CoDe's config of TCL: nouns instead of captions, other priors, normalised features, a
    region prompt.
    """
    return TclConfig(
        texts="concepts",
        positive_area=0.25,
        positive_weight=0.5,
        negative_weight=0.05,
        normalised=True,
        prompt=True,
        multi_label="soft_target",
    )


@dataclass(frozen=True)
class CodeConfig:
    """Configuration of CoDe.

    The switches of Table 4.2 are `decompose` (C), `words.prompt` (W) and `tcl.prompt` (R).

    Attributes:
        tcl: the image segmenter and its loss, L_seg^v.
        words: the text segmenter, and the prompts of nouns.
        nouns: J, number of nouns per image, of the texts drawn for it.
        decompose: whether the text is segmented; otherwise the model is TCL with prompted nouns.
        knowledge_weight: lambda_kg of Eq. 3.8.
        region_weight: lambda of L_seg^v in Eq. 3.8.
        word_weight: lambda of L_seg^t in Eq. 3.8.
        highlight_weight: lambda_hcl of Eq. 3.8.
        temperature: initial temperature of Eq. 3.7, learnt; its inverse is at most 100.
        zero_shot: options of inference; those of `tcl` are not used.
    """

    tcl: TclConfig = field(default_factory=_segmenter)
    words: WordConfig = field(default_factory=WordConfig)
    nouns: Count = 2
    decompose: bool = True
    knowledge_weight: ZeroOrMore = 8.0
    region_weight: ZeroOrMore = 1.0
    word_weight: ZeroOrMore = 1.0
    highlight_weight: ZeroOrMore = 0.5
    temperature: AboveZero = 0.07
    zero_shot: GroundingChoices = field(default_factory=GroundingChoices)

    def __post_init__(self) -> None:
        if self.nouns < 1:
            raise ValueError("code: nouns must be at least 1")
        if self.tcl.texts != "concepts" or self.tcl.text_adapter:
            raise ValueError(
                "code: tcl takes texts: concepts and text_adapter: false, for nouns have a prompt"
            )

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return replace(
            self.tcl.reads,
            tokens="frozen",
            context=self.words.positions,
            words=self.decompose and self.words.labels == "string",
        )

    def with_sizes(self, sizes: Sizes) -> CodeConfig:
        """Return a copy in which widths that are 0 are those of the data."""
        words = replace(
            self.words, width=self.words.width or sizes.words, out=self.words.out or sizes.texts
        )
        return replace(self, tcl=self.tcl.with_sizes(sizes), words=words)


def code_released() -> CodeConfig:
    """Return the released configuration, with pictures of 224 pixels through the frozen encoder."""
    grounder = GrounderConfig(
        blocks=2, factor=2, convs=1, conv="full", adapter=0, dropout=0.0, gate=0.0
    )
    segmenter = replace(_segmenter(), grounder=grounder, picture=224, mask_negatives=False)
    return CodeConfig(
        segmenter,
        WordConfig(context=16, labels="string"),
        zero_shot=GroundingChoices(knowledge=0.3),
    )
