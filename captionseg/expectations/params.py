"""Section `validate` of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from captionseg.typed import Count, Natural, Share, ZeroOrMore


@dataclass(frozen=True)
class ValidateParams:
    """Section `validate`: what the data must look like before anything is trained on it.

    Attributes:
        min_pairs: rows of the pairs table.
        min_success: share of source rows that became a sample.
        min_side, max_side: of an image, in pixels.
        max_caption: characters of a caption.
        min_kept: share of a supervision's rows that are kept, of those that no marker marks.
        min_with_concepts: share of kept rows that have a concept.
        max_clusters: cluster numbers lie below it.
        min_with_segments: share of a split's images that have a segment.
        max_segments: of one image.
        min_median_segments, max_median_segments: of the images of a split (USE's COCO: a mean of
            11).
        max_texts: mean texts of a segment (USE's COCO: 4.3).
        min_unique_texts: different texts of segments, as a share of all (USE's COCO: 0.16).
        max_full_image: share of segments that are the whole picture.
        max_unassigned: share of boxes that are of no phrase.
        max_cut: captions that a grounder had to read in pieces, as a share of all.
        max_uncaptioned: images whose captioning failed or is missing, as a share of those that were
            to be captioned.
        examples: how many failing rows a report names.
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
