"""Which words are masked, for each way of masking."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from captionseg.records import Concept, Supervision
from captionseg.training.masked import masked_embeddings


@pytest.fixture
def folders(world, tmp_path):
    (tmp_path / "lemma.json").write_text(json.dumps({"dogs": "dog"}))
    uid = pq.read_table(world.index / "metadata" / "metadata_00000.parquet")["uid"].to_pylist()[:2]
    captions = pq.read_table(world.index / "metadata" / "metadata_00000.parquet")["caption"].to_pylist()[:2]
    return world.index, tmp_path, np.array(uid, object), captions


def supervision(uid, *names) -> Supervision:
    blank = Supervision.blank(uid)
    return Supervision(uid, blank.kept, blank.drop_reason, [tuple(Concept(n) for n in names)] * len(uid))


@pytest.mark.parametrize("masking", ["all", "one", "nouns"])
def test_masked_captions(folders, masking):
    index, vocabulary, uid, captions = folders
    seen = []

    def encode(texts):
        seen.extend(texts)
        return np.zeros((len(texts), 4), np.float32)

    words = captions[0].replace(",", " ").replace(".", " ").split()
    first, last = words[0].lower(), words[-1].lower()
    archive = supervision(uid, "absent", last, first)
    out = masked_embeddings(index, vocabulary, archive, supervision(uid, first), masking, encode)
    assert out.shape == (2, 4)
    masked = seen[0].split()
    assert (masked[0] == "[MASK]") == (masking in ("all", "nouns"))
    assert masked[-1].startswith("[MASK]") == (masking in ("all", "one"))
