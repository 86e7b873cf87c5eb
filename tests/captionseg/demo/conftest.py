"""A small finished run in the current folder, and what the page works with."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.lineage.history import Places
from tests.captionseg.benchmarks.conftest import save_regions

EVIL = "<img src=x onerror=\"document.title='ran'\"><evil-tag> {{ 7*7 }} & a cat"
"""A caption that would run as a script where it became HTML."""


@pytest.fixture(scope="session")
def run(toy, world, searchable, tmp_path_factory) -> SimpleNamespace:
    """Read-only: `places` of a run with two recipes and a model of segments. The first pair has the
    caption EVIL.
    """
    from captionseg.training.pretrain import copy_encoder

    root = tmp_path_factory.mktemp("run")
    data = root / "data"
    data.mkdir()
    for name in ("index", "supervision", "regions", "features"):
        (data / name).symlink_to(getattr(world, name))
    (data / "segments").symlink_to(searchable.segments)
    shutil.copytree(world.pairs, data / "pairs")
    file = data / "pairs" / "00000.parquet"
    table = pq.read_table(file)
    captions = [EVIL, *table["caption"].to_pylist()[1:]]
    place = table.schema.get_field_index("caption")
    pq.write_table(table.set_column(place, "caption", pa.array(captions)), file)
    for seed, name in enumerate(("first-mil", "second-mil")):
        save_regions(root / "models" / name, world, seed)
        copy_encoder(world.encoder, root / "models" / name / "encoder")
    (root / "models" / "use").symlink_to(searchable.model)
    return SimpleNamespace(places=Places(data, root / "models"), world=world)
