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
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

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
"""Maximum length of a caption in characters, as in `max_caption` of validation.

Sources refuse longer captions; of longer captions from elsewhere only the beginning is parsed. A
parse needs 10 KB of memory per character, and spaCy refuses a million.
"""

PAIRS = pa.schema(
    [
        ("uid", pa.string()),  # first 128 bits of sha256(url or path, caption), 32 hex digits
        ("key", pa.string()),  # name of the sample inside its shard
        ("url", pa.string()),  # a URL, a path, or source:split/number
        ("caption", pa.string()),
        ("split", pa.string()),  # train, tune or test
        # success, failed_to_download or failed_to_resize
        ("status", pa.string()),
        ("error_message", pa.string()),  # null on success
        ("sha256", pa.string()),  # of the encoded image in the shard, null on failure
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),  # of the original picture, upright
        ("original_height", pa.int32()),
        ("original_sha256", pa.string()),  # of the original file
        ("phash", pa.string()),  # perceptual hash of the image in the shard, 16 hex digits
        ("reason", pa.string()),  # one of captionseg.sources.reasons, null on success
        # further captions of the picture, which no rule, vocabulary or alignment may read
        ("held_out_captions", pa.list_(pa.string())),
        ("source_row", pa.string()),  # file and line of the row: captions.csv:17
    ]
)
"""Metadata of a shard (`NNNNN.parquet`): one row per source row, including failures. The layout is
img2dataset's, with more columns.
"""

TRUTH = pa.schema(
    [
        ("uid", pa.string()),
        ("concepts", pa.list_(pa.string())),  # names of all classes in the picture
        ("mask", pa.binary()),  # PNG, 8 bit, class index; 255 is ignored
    ]
)
"""True masks. They are only for evaluation: no rule and no model may read them."""

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
"""The pair of each row of the index's arrays. `fold` is the cross-fitting fold, -1
outside train.
"""

NEIGHBOURS = "neighbours.npy"
"""File of an index: int32 [N, K], for row i of IDS the rows of the most similar images, best first;
-1 pads.
"""

SIMILARITIES = "similarities.npy"
"""File of an index: float16 [N, K], the cosines of the descriptors of NEIGHBOURS; -inf pads."""

CAPTION_NEIGHBOURS = "caption_neighbours.npy"
"""File of an index: int32 [N, L], for row i of IDS the rows of the best matching captions of other
images, best first; -1 pads.
"""

RECALL = "recall.json"
"""File next to the neighbours with the recall of each index, if the search was not exact."""

CAPTIONS = pa.schema(
    [
        ("uid", pa.string()),
        ("caption", pa.string()),  # the original one
        ("captioner", pa.string()),  # key of its configuration
        ("generated", pa.string()),  # cleaned up; null if there is none
        ("status", pa.string()),  # success, failed or missing (precomputed)
        ("error_message", pa.string()),  # null on success
    ]
)
"""Generated captions: one row per captioned picture, including failures."""

CONCEPT = pa.struct(
    [
        ("text", pa.string()),
        # s_c, Eq. 8 of CoCu, or the rule's own score; for ranking
        ("score", pa.float32()),
        ("score_a", pa.float32()),  # s^a_c, Eq. 6; NaN if the rule has none
        ("score_b", pa.float32()),  # s^b_c, Eq. 7; NaN if the rule has none
        ("weight", pa.float32()),  # unnormalised probability of being drawn, > 0
        ("support", pa.int32()),  # N', number of neighbours whose captions name it
        ("cluster", pa.int32()),  # semantic cluster; -1: not clustered
        ("rule", pa.string()),  # rule that found it
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
"""Concepts of each pair, which models learn from. Dropped rows are marked, never deleted."""

MARKS = pa.schema(
    [
        ("uid", pa.string()),
        ("kind", pa.string()),  # one of captionseg.marking.marker.KINDS
        ("reason", pa.string()),  # a line for people: near duplicate of UID (distance 3)
        ("twin", pa.string()),  # uid of the pair that is kept instead; null if there is none
    ]
)
"""Training pairs that all rules drop, independently of their concepts."""

DROPPED = "dropped"
"""Key of curation.json, next to the names of rules: number of marked pairs by kind."""

SEGMENT_TEXT = pa.struct(
    [
        ("text", pa.string()),
        ("kind", pa.string()),  # phrase or expression (of a caption), concept (curated)
        ("score", pa.float32()),  # score of its best box
        # number of the caption that contains it, the generated one last; -1 for none
        ("caption", pa.int16()),
        ("count", pa.int32()),  # number of boxes of the segment with this text
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
"""Segments with all texts that name them (USE), one row per segment."""


@runtime_checkable
class RowArray(Protocol):
    """An array that is read some rows at a time: numpy's own, or one whose rows stay on disk."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


class Sigmoid(NamedTuple):
    """The learnt scale and bias of an encoder that was trained with the sigmoid loss of SigLIP
    (Zhai et al. 2023, Algorithm 1): a text belongs to an image with the probability
    sigmoid(scale * cosine + bias).
    """

    scale: float
    bias: float


@dataclass(frozen=True)
class Corpus:
    """Captioned images, as rules read them. Row i of each array is pair i; all are read-only.

    Only the rows that are asked for are in memory; the others are on disk, memory-mapped.

    Attributes:
        uid: 32 hex digits.
        caption: [N] strings.
        image_embedding: L2-normalised, in the space of `concept_embedding`. Those of the training
            split are cross-fitted: by an alignment that was not trained on their captions.
        image_feature: frozen image features before any alignment with text.
        neighbours: rows of this corpus, most similar images first, never the row itself; -1 pads.
        caption_neighbours: rows whose captions are most similar to image i, never its own; -1 pads.
        vocabulary: [C] concepts, most frequent first.
        concept_embedding: L2-normalised embeddings of the prompted concepts t_m of CoCu.
        named: [N, C] scipy CSR bool, whether caption i names concept c: an entry for each that it
            names, in ascending order, and no other.
        sigmoid: how probable a text is for an image, if the encoder knows it.
    """

    uid: Shaped[RowArray, " N"]
    caption: Sequence[str] | RowArray
    image_embedding: Float32[RowArray, "N D"]
    image_feature: Float[RowArray, "N P"]
    neighbours: Int32[RowArray, "N K"]
    caption_neighbours: Int32[RowArray, "N L"]
    vocabulary: Sequence[str]
    concept_embedding: Float32[np.ndarray, "C D"]
    named: csr_array
    sigmoid: Sigmoid | None = None

    def __len__(self) -> int:
        return len(self.uid)


@dataclass(frozen=True)
class ClassTable:
    """Classes of true masks: names by index, and kinds (object or stuff), which may be empty."""

    names: tuple[str, ...]
    kinds: tuple[str, ...] = field(default=())


def make_uid(location: str, caption: str) -> str:
    """Return the first 128 bits of sha256(location, NUL, caption) as 32 hex digits."""
    return hashlib.sha256(f"{location}\0{caption}".encode()).hexdigest()[:32]
