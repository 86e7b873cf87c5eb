"""Captions that are the name of a file: IMG_1234.jpg, DSC00012, a UUID."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.marking.marker import MarkedRows, Rows
from captionseg.remarks import quote

pc: Any = compute  # its functions are made when it is imported

SUFFIX = r"\.(?:jpe?g|jfif|png|gif|bmp|webp|tiff?|heic|heif|avif|svg|raw|cr2|nef|arw|dng|psd)"
PREFIX = (
    "img|image|imag|dsc|dscn|dscf|dscx|_dsc|_mg|dcim|pict|pic|photo|pxl|mvi|vid|gopr|sam|cimg|imgp|"
    "kimg|hpim|wp|snapseed|fullsizerender|screen ?shot|scan|mg|p|dji|gp|mah|fb_img|inshot|picsart"
)
PATTERNS = (
    rf"^.{{1,200}}{SUFFIX}$",  # whatever it is called
    # what cameras and phones write: a prefix, numbers, and nothing else
    rf"^(?:{PREFIX})[-_ ]*\d{{2,}}(?:[-_ ~()]*(?:wa)?\d+)*\)?(?:[-_ ]*(?:copy|edit(?:ed)?|hdr))?$",
    # numbers with or without signs between: 20190412_153012, 1-2-3
    r"^[\d][\d_.,/()#-]*$",
    r"^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$",
    r"^[0-9a-f]*\d[0-9a-f]*[a-f][0-9a-f]*$",
)
LONGEST = 15  # characters that a hexadecimal number is to have more than, to be no word


@dataclass(frozen=True)
class FileNames:
    """A caption that is a name as cameras, phones and sites give it, with or without its suffix."""

    kinds: ClassVar[tuple[str, ...]] = ("caption_file_name",)
    reads: ClassVar[str] = "caption"

    def __call__(self, rows: Rows, kept: np.ndarray, *, seed: int = 0) -> MarkedRows:
        """See Marker."""
        text = pc.utf8_trim_whitespace(rows.caption)
        row = np.flatnonzero(kept & is_file_name(text))
        names = text.take(pa.array(row)).to_pylist()
        return MarkedRows.without_twins(
            row, "caption_file_name", [f"the caption is a file's name: {quote(n)}" for n in names]
        )


def is_file_name(text: pa.StringArray) -> np.ndarray:
    """[N] bool: does a text look like the name of a file?"""

    def match(pattern: str) -> np.ndarray:
        found = pc.match_substring_regex(text, pattern, ignore_case=True)
        return found.to_numpy(zero_copy_only=False)

    long = pc.greater(pc.utf8_length(text), LONGEST).to_numpy(zero_copy_only=False)
    *names, number = PATTERNS
    return np.logical_or.reduce([*map(match, names), match(number) & long])
