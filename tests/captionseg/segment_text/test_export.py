"""SA-1B files that COCO's tools read, with the texts."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco

from captionseg.records import PAIRS, SEGMENTS, UserError
from captionseg.segment_text.export import export_sa1b
from captionseg.segment_text.rle import encode


def test_a_file_for_each_image(tmp_path: Path) -> None:
    mask = np.zeros((1, 4, 6), bool)
    mask[0, 1:3, 1:5] = True
    (rle,), _, (box,) = encode(mask)
    row = {
        "uid": "u",
        "segment_id": "s",
        "width": 6,
        "height": 4,
        "rle": rle,
        "bbox": box.tolist(),
        "area": 8,
        "stability": 0.5,
        "score": 0.5,
        "full_image": False,
        "source": "x",
        "texts": [{"text": "a dog", "kind": "phrase", "score": 0.5}],
    }
    segments = pa.Table.from_pylist([row, {**row, "uid": "v"}, row], schema=SEGMENTS)
    pair = dict.fromkeys(PAIRS.names) | {"uid": "u", "key": "000000007"}
    pairs = pa.Table.from_pylist([pair, pair | {"uid": "v", "key": "000000008"}], schema=PAIRS)
    assert export_sa1b(segments, pairs, tmp_path) == 2
    read = json.loads((tmp_path / "000000007.json").read_text())
    assert read["image"]["file_name"] == "000000007.jpg"
    assert read["image"]["uid"] == "u"
    assert len(read["annotations"]) == 2
    first = read["annotations"][0]
    assert coco.area(first["segmentation"]) == first["area"] == 8
    assert first["texts"] == row["texts"]
    with pytest.raises(UserError, match="image v"):
        export_sa1b(segments, pairs.slice(0, 1), tmp_path)
