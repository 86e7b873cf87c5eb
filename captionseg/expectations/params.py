"""Section `validate` of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from captionseg.typed import Count, Natural, Share, ZeroOrMore


@dataclass(frozen=True)
class ValidateParams:
    """Section `validate`: requirements that the data must meet before training.

    Attributes:
        min_pairs: rows in the pairs table.
        min_success: share of source rows that succeeded.
        min_side, max_side: side of a picture, in pixels.
        max_caption: length of a caption, in characters.
        min_kept: share of rows that a rule keeps, among those that no marker marks.
        min_with_concepts: share of kept rows with a concept.
        max_clusters: cluster numbers must be smaller.
        min_with_segments: share of a split's pictures with a segment.
        max_segments: segments of one picture.
        min_median_segments, max_median_segments: median number of segments per picture of a split
            (USE's COCO: a mean of 11).
        max_texts: mean number of texts per segment (USE's COCO: 4.3).
        min_unique_texts: share of distinct texts among all texts of segments (USE's COCO: 0.16).
        max_full_image: share of segments that cover the whole picture.
        max_unassigned: share of boxes that belong to no phrase.
        max_cut: share of captions that a grounder had to read in pieces.
        max_uncaptioned: share of pictures whose captioning failed or is missing, among those to be
            captioned.
        examples: number of failing rows that a report lists.
    """

    min_pairs: Natural = 1
    min_success: Share = 0.5
    min_side: Natural = 1
    max_side: Count = 16384
    max_caption: Count = 50_000
    min_kept: Share = 0.5
    min_with_concepts: Share = 0.9
    max_clusters: Natural = 64
    min_with_segments: Share = 0.5
    max_segments: Natural = 200
    min_median_segments: ZeroOrMore = 1
    max_median_segments: ZeroOrMore = 50
    max_texts: ZeroOrMore = 20
    min_unique_texts: Share = 0.001
    max_full_image: Share = 0.5
    max_unassigned: Share = 0.9
    max_cut: Share = 0.5
    max_uncaptioned: Share = 0.1
    examples: Natural = 5
