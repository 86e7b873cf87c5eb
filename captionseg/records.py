"""The data that stages pass to each other, with the Arrow schemas of their files.

    pairs --index--> Corpus --rule--> Supervision --loader--> Batch --model--> mask logits
      `--regions / segment_text--> Segments --------'

This module contains only data; it does not depend on stages, models or devices. Batch and Inputs,
which models read, are in captionseg.model_inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float32, Int32, Shaped

if TYPE_CHECKING:
    from scipy.sparse import csr_array
else:
    # most stages read records without it, and it takes long to import
    csr_array = Any


class UserError(Exception):
    """An error that the user can fix; its one-line message says what, where, and what to do."""


def one_line(text: object, most: int = 200) -> str:
    """Convert foreign text (an exception, a file name, an answer) to one line of printable
    characters.
    """
    # names of files may be no valid text
    readable = str(text).encode("utf-8", "backslashreplace").decode()
    return "".join(c for c in " ".join(readable.split()) if c.isprintable())[:most]


LONGEST_CAPTION = 50_000
"""Characters of a caption: a source refuses a longer one, and of one that comes from elsewhere only
the beginning is parsed. A parse takes 10 KB a character, spaCy refuses a million, and `max_caption`
of validation is as much."""

PAIRS = pa.schema(
    [
        ("uid", pa.string()),  # first 128 bits of sha256(url or path, caption), 32 hex digits
        ("key", pa.string()),  # name of the sample inside its shard
        ("url", pa.string()),  # where it came from: a URL, a path, or source:split/number
        ("caption", pa.string()),
        ("split", pa.string()),  # train, tune or test
        # success, or why there is no sample: failed_to_download, failed_to_resize
        ("status", pa.string()),
        ("error_message", pa.string()),  # null on success
        ("sha256", pa.string()),  # of the encoded image in the shard, null on failure
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),  # of the picture as it came, upright
        ("original_height", pa.int32()),
        ("original_sha256", pa.string()),  # of its bytes as they came
        ("phash", pa.string()),  # perceptual hash of the image in the shard, 16 hex digits
        ("reason", pa.string()),  # one of captionseg.sources.reasons, null on success
        # further captions of the picture, which no rule, vocabulary or alignment may see
        ("held_out_captions", pa.list_(pa.string())),
        ("source_row", pa.string()),  # where the row came from: captions.csv:17
    ]
)
"""One row per source row of a shard, failures too (`NNNNN.parquet`, img2dataset's layout and more
columns).
"""

TRUTH = pa.schema(
    [
        ("uid", pa.string()),
        ("concepts", pa.list_(pa.string())),  # names of all classes in the picture
        ("mask", pa.binary()),  # PNG, 8 bit, class index; 255 is ignored
    ]
)
"""The truth. Only for evaluation: no rule and no model may read it."""

IDS = pa.schema(
    [
        ("row", pa.int64()),
        ("uid", pa.string()),
        ("shard", pa.string()),
        ("key", pa.string()),
        ("split", pa.string()),
        ("fold", pa.int32()),
    ]
)
"""Row number in every `.npy` of the index -> pair. `fold` is the cross-fitting fold, -1 outside
train.
"""

NEIGHBOURS = pa.schema(
    [
        ("row", pa.int64()),
        ("neighbours", pa.list_(pa.int32())),
        ("similarities", pa.list_(pa.float32())),
    ]
)

RECALL = "recall.json"
"""Beside them, where a search was not exact: the share of the nearest rows that each index
found.
"""

CAPTIONS = pa.schema(
    [
        ("uid", pa.string()),
        ("caption", pa.string()),  # the original one
        ("captioner", pa.string()),  # key of its configuration
        ("generated", pa.string()),  # tidied; null where there is none
        ("status", pa.string()),  # success, failed or missing (precomputed)
        ("error_message", pa.string()),  # null on success
    ]
)
"""Generated captions: one row per captioned picture, including failures."""

CONCEPT = pa.struct(
    [
        ("text", pa.string()),
        # s_c, Eq. 8 of CoCu, or what the rule puts in its place; for ranking and reading
        ("score", pa.float32()),
        ("score_a", pa.float32()),  # s^a_c, Eq. 6; NaN where a rule has none
        ("score_b", pa.float32()),  # s^b_c, Eq. 7; NaN where a rule has none
        ("weight", pa.float32()),  # unnormalised probability of being drawn, > 0
        ("support", pa.int32()),  # N', how many neighbours' captions name it
        ("cluster", pa.int32()),  # semantic cluster; -1: not clustered
        ("rule", pa.string()),  # who put it there
    ]
)
SUPERVISION = pa.schema(
    [
        ("uid", pa.string()),
        ("kept", pa.bool_()),
        ("drop_reason", pa.string()),
        ("concepts", pa.list_(CONCEPT)),
    ]
)
"""What models learn from. Rows are marked, never deleted."""

MARKS = pa.schema(
    [
        ("uid", pa.string()),
        ("kind", pa.string()),  # of captionseg.marking.marker.KINDS
        ("reason", pa.string()),  # a line for people: near duplicate of UID (distance 3)
        ("twin", pa.string()),  # uid of the pair that stays in its place; null where there is none
    ]
)
"""The training pairs that no rule keeps, whatever their concepts."""

DROPPED = "dropped"
"""In curation.json, beside the names of rules: how many pairs are marked, by kind."""

SEGMENT_TEXT = pa.struct(
    [
        ("text", pa.string()),
        ("kind", pa.string()),  # phrase or expression (of a caption), concept (curated)
        ("score", pa.float32()),  # of the best of its boxes
        # whose text it is there: number of the caption, the generated one last; -1 of none
        ("caption", pa.int16()),
        ("count", pa.int32()),  # how many boxes gave the segment this text
    ]
)
SEGMENTS = pa.schema(
    [
        ("uid", pa.string()),
        ("segment_id", pa.string()),  # sha1 of uid and RLE
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("rle", pa.string()),  # COCO compressed RLE, column-major
        ("bbox", pa.list_(pa.float32(), 4)),  # x, y, width, height in pixels
        ("area", pa.int32()),
        ("stability", pa.float32()),
        ("score", pa.float32()),  # grounding score
        ("full_image", pa.bool_()),
        ("source", pa.string()),  # grounder+segmenter
        ("texts", pa.list_(SEGMENT_TEXT)),
    ]
)
"""One row per segment, each with all texts that name it (USE)."""


@dataclass(frozen=True)
class Corpus:
    """Captioned images as rules see them: read-only and columnar, row i of each array is pair i.

    Attributes:
        uid: 32 hex digits.
        caption: [N] strings.
        image_embedding: L2-normalised, in the space of `concept_embedding`. Rows of the training
            split are cross-fitted: embedded by an alignment that never saw their caption.
        image_feature: frozen image features before any alignment with text (memory-mapped where
            large).
        neighbours: rows of this corpus, most similar images first, never the row itself; -1 pads.
        caption_neighbours: rows whose captions are most similar to image i, never its own; -1 pads.
        vocabulary: [C] concepts, most frequent first.
        concept_embedding: L2-normalised embeddings of the prompted concepts t_m.
        named: [N, C] scipy CSR bool: does caption i name concept c?
    """

    uid: Shaped[np.ndarray, " N"]
    caption: Sequence[str]
    image_embedding: Float32[np.ndarray, "N D"]
    image_feature: Float[np.ndarray, "N P"]
    neighbours: Int32[np.ndarray, "N K"]
    caption_neighbours: Int32[np.ndarray, "N L"]
    vocabulary: Sequence[str]
    concept_embedding: Float32[np.ndarray, "C D"]
    named: csr_array

    def __len__(self) -> int:
        return len(self.uid)


@dataclass(frozen=True)
class ClassTable:
    """Names of the classes of a truth: index = position. `kind` is object or stuff."""

    names: tuple[str, ...]
    kinds: tuple[str, ...] = field(default=())


def make_uid(location: str, caption: str) -> str:
    """First 128 bits of sha256 over location and caption (separated by NUL), as 32 hex digits."""
    return hashlib.sha256(f"{location}\0{caption}".encode()).hexdigest()[:32]
